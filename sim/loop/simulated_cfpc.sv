// The CFPC filter with its link, its ports under names for simulated_cfpc.cpp.
module cfpc_bench (
    input clk, rst,
    input rx_valid, rx_error, tx_ready,
    input [7:0] rx,
    output tx_valid,
    output [7:0] tx,
    output learning, saturated
);
    linked_cfpc dut (
        .clk(clk), .rst(rst),
        .rx__valid(rx_valid), .rx__payload(rx), .rx_error(rx_error),
        .tx__valid(tx_valid), .tx__payload(tx), .tx__ready(tx_ready),
        .learning(learning), .saturated(saturated)
    );
endmodule
