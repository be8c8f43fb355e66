// The adaptive filter under names that C++ can have, for cfpc_loop.cpp.
`timescale 1ns / 1ns

module cfpc_loop #(
    parameter SIGNAL = 18,
    parameter WEIGHT = 24,
    parameter NUMBER = 5
) (
    input clk, rst, freeze,
    input samples_valid,
    output samples_ready,
    input [SIGNAL-1:0] error, basis,
    output outputs_valid,
    input outputs_ready,
    output [SIGNAL-1:0] outputs,
    input access_valid, access_write,
    output access_ready,
    input [NUMBER-1:0] access_synapse,
    input [WEIGHT-1:0] access_word,
    output readback_valid,
    input readback_ready,
    output [WEIGHT-1:0] readback,
    output busy, rejected,
    output commit_valid,
    output [NUMBER-1:0] commit_synapse,
    output [SIGNAL-1:0] commit_trace,
    output [WEIGHT-1:0] commit_weight
);
    cfpc dut (
        .clk(clk), .rst(rst), .freeze(freeze),
        .samples__valid(samples_valid), .samples__ready(samples_ready), .samples__payload({basis, error}),
        .outputs__valid(outputs_valid), .outputs__ready(outputs_ready), .outputs__payload(outputs),
        .access__valid(access_valid), .access__ready(access_ready),
        .access__payload({access_word, access_synapse, access_write}),
        .readback__valid(readback_valid), .readback__ready(readback_ready), .readback__payload(readback),
        .busy(busy), .rejected(rejected),
        .commit__valid(commit_valid), .commit__synapse(commit_synapse), .commit__trace(commit_trace),
        .commit__weight(commit_weight)
    );
endmodule
