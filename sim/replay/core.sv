// The core under names that C++ can spell, its commits packed as they are recorded: what replay.sv and replay.cpp drive.
`timescale 1ns / 1ns

module replay_core #(
    parameter CHANNELS = 1,
    parameter CHANNEL_BITS = 1,
    parameter WORD_BITS = 32,
    parameter PARAMETER_BITS = 5
) (
    input wire clk, rst, tick,
    // An event, or a parameter to write: of `channel`, taken at an edge with `taken` or `written`.
    input wire sending, writing,
    input wire [15:0] channel,
    input wire [1:0] kind,
    input wire [7:0] number,
    input wire [63:0] word,
    output wire taken, written,
    // The end of a channel's step. `last`: of the last channel, so that of the whole step.
    output wire committed, last, responded,
    output wire [63:0] low, middle, high,
    // A recalibration; `head` has room for the step.
    output wire recalibrated,
    output wire [63:0] head, rate, potentiation, depression,
    output wire overrun, rejected
);
    wire [CHANNEL_BITS+1:0] responses_payload;
    wire [CHANNEL_BITS-1:0] commit_channel;
    // As wide as a record's fields; the core drives the low bits.
    wire [15:0] age, recalibrated_channel, recalibrated_status;
    wire [47:0] trace, weight;
    wire active, plasticity_trace, delayed_inhibition, gated_io, below, cr, inhibition;
    wire readback_valid, busy;
    wire [WORD_BITS-1:0] readback_payload;

    microcircuit dut (
        .clk(clk), .rst(rst), .tick(tick),
        .events__valid(sending), .events__ready(taken), .events__payload({kind, channel[CHANNEL_BITS-1:0]}),
        .responses__valid(responded), .responses__ready(1'b1), .responses__payload(responses_payload),
        .access__valid(writing), .access__ready(written),
        .access__payload({
            word[WORD_BITS-1:0], 1'b1, number[PARAMETER_BITS-1:0], channel[CHANNEL_BITS-1:0]
        }),
        .readback__valid(readback_valid), .readback__ready(1'b1), .readback__payload(readback_payload),
        .commit__valid(committed), .commit__channel(commit_channel), .commit__age(age),
        .commit__active(active), .commit__trace(trace), .commit__plasticity_trace(plasticity_trace),
        .commit__delayed_inhibition(delayed_inhibition), .commit__gated_io(gated_io),
        .commit__weight(weight), .commit__scaled(high), .commit__below(below), .commit__cr(cr),
        .commit__inhibition(inhibition),
        .recalibrated__valid(recalibrated), .recalibrated__channel(recalibrated_channel),
        .recalibrated__status(recalibrated_status), .recalibrated__rate(rate),
        .recalibrated__potentiation(potentiation), .recalibrated__depression(depression),
        .busy(busy), .overrun(overrun), .rejected(rejected)
    );

    assign last = commit_channel == CHANNELS - 1;
    // The response that leaves on the stream, so that the record holds what a user of the core gets.
    wire response = responded && responses_payload == {2'd2, commit_channel};
    assign low = {
        weight, 8'd0, response, inhibition, cr, below, gated_io, delayed_inhibition, plasticity_trace, active
    };
    assign middle = {trace, age};
    assign head = {recalibrated_status, recalibrated_channel, 32'd0};
endmodule
