// The chip with its link and its amplifier chips, for board.cpp.
`timescale 1ns / 1ns

module board_bench #(
    parameter CHIPS = 1,
    parameter CHANNELS = 32
) (
    input clk, rst, emergency_stop, present,
    input rx_valid, rx_error, tx_ready,
    input [7:0] rx,
    output tx_valid,
    output [7:0] tx,
    input [CHIPS*32*16-1:0] codes,
    output [CHIPS*18*8-1:0] registers,
    output running, frame, train, armed, fault, cathodic, anodic, stimulate
);
    wire cs_n, sclk, mosi;
    wire [CHIPS-1:0] miso;

    linked_chip dut (
        .clk(clk), .rst(rst), .emergency_stop(emergency_stop),
        .rx__valid(rx_valid), .rx__payload(rx), .rx_error(rx_error),
        .tx__valid(tx_valid), .tx__payload(tx), .tx__ready(tx_ready),
        .spi__cs_n(cs_n), .spi__sclk(sclk), .spi__mosi(mosi), .spi__miso(miso),
        .cathodic(cathodic), .anodic(anodic), .stimulate(stimulate), .fault(fault),
        .observed__running(running), .observed__frame(frame), .observed__train(train), .observed__armed(armed)
    );

    for (genvar i = 0; i < CHIPS; i++) begin : chips
        amplifier amplifier (
            .cs_n(cs_n), .sclk(sclk), .mosi(mosi), .miso(miso[i]), .present(present),
            .codes(codes[i*32*16+:32*16]), .registers(registers[i*18*8+:18*8])
        );
    end
endmodule
