// The front end with its amplifier chips, each at the end of a cable of its own: for the bench of the amplifier.
`timescale 1ps / 1ps

module amplifier_bench #(
    parameter CHIPS = 2,
    parameter PAYLOAD = 18,
    parameter DELAYS = 6,
    parameter CHIP_BITS = 1,
    parameter CLOCK_PS = 41666
) (
    input clk, rst, enable, ready,
    input [CHIPS-1:0] present, brown_out,
    input [CHIPS*2-1:0] line_unplugged,
    input [CHIPS*8-1:0] chip_id, amplifiers,
    input [CHIPS*5-1:0] delay,
    input [CHIPS*32*16-1:0] codes,
    output [CHIPS*18*8-1:0] registers,
    output [CHIPS-1:0] calibrated,
    output valid, frame, running, cs_n, sclk, mosi,
    output [PAYLOAD-1:0] payload,
    output [2:0] fault,
    output [CHIP_BITS-1:0] faulty_chip,
    output [DELAYS-1:0] delays,
    output [31:0] violations,
    output [3:0] first_violation
);
    wire [CHIPS-1:0] far, near;

    front_end dut (
        .clk(clk), .rst(rst), .enable(enable), .frame(frame), .running(running), .fault(fault),
        .faulty_chip(faulty_chip), .delays(delays),
        .samples__valid(valid), .samples__ready(ready), .samples__payload(payload),
        .spi__cs_n(cs_n), .spi__sclk(sclk), .spi__mosi(mosi), .spi__miso(near)
    );
    spi_checker #(.CLOCK_PS(CLOCK_PS)) checker_ (
        .clk(clk), .cs_n(cs_n), .sclk(sclk), .mosi(mosi), .violations(violations), .first(first_violation)
    );
    for (genvar i = 0; i < CHIPS; i++) begin : chips
        rhd2000 chip (
            .cs_n(cs_n), .sclk(sclk), .mosi(mosi), .miso(far[i]), .present(present[i]),
            .line_unplugged(line_unplugged[i*2+:2]), .brown_out(brown_out[i]), .chip_id(chip_id[i*8+:8]),
            .amplifiers(amplifiers[i*8+:8]), .codes(codes[i*32*16+:32*16]),
            .registers(registers[i*18*8+:18*8]), .calibrated(calibrated[i])
        );
        cable cable (.clk(clk), .delay(delay[i*5+:5]), .in(far[i]), .out(near[i]));
    end
endmodule
