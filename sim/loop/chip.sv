// The chip with its amplifier chips around it, for chip.cpp: what is logged, as wide as a record's fields.
`timescale 1ns / 1ns

module chip_bench #(
    parameter CHIPS = 1,
    parameter CHANNELS = 32,
    parameter CIRCUITS = 1
) (
    input clk, rst, enable, arm, heartbeat, emergency_stop, present,
    input [CHIPS*32*16-1:0] codes,
    output [CHIPS*18*8-1:0] registers,
    output running, frame, tick, train, armed, first_sample, blanked, cathodic, anodic, stimulate, overrun, rejected,
    output [7:0] amplifier_fault, stimulation_fault,
    output detected, event_valid, delivered, commit, recalibrated, cr,
    output [15:0] detected_electrode, delivered_channel, commit_channel, recalibrated_channel,
    output [7:0] delivered_kind, recalibrated_status,
    output [63:0] weight, rate, potentiation, depression
);
    wire cs_n, sclk, mosi;
    wire [CHIPS-1:0] miso;

    chip dut (
        .clk(clk), .rst(rst), .enable(enable),
        .arm(arm), .disarm(1'b0), .heartbeat(heartbeat), .emergency_stop(emergency_stop),
        .spi__cs_n(cs_n), .spi__sclk(sclk), .spi__mosi(mosi), .spi__miso(miso),
        .cathodic(cathodic), .anodic(anodic), .stimulate(stimulate), .armed(armed),
        .stimulation_fault(stimulation_fault), .amplifier_fault(amplifier_fault), .faulty_chip(),
        .running(running), .frame(frame), .tick(tick), .train(train), .first_sample(first_sample), .blanked(blanked),
        .detected__valid(detected), .detected__electrode(detected_electrode), .detected__event(event_valid),
        .delivered__valid(delivered), .delivered__channel(delivered_channel), .delivered__kind(delivered_kind),
        .commit__valid(commit), .commit__channel(commit_channel), .commit__weight(weight), .commit__cr(cr),
        .recalibrated__valid(recalibrated), .recalibrated__channel(recalibrated_channel),
        .recalibrated__status(recalibrated_status), .recalibrated__rate(rate),
        .recalibrated__potentiation(potentiation), .recalibrated__depression(depression),
        .circuit_access__valid(1'b0), .circuit_access__payload('0), .circuit_readback__ready(1'b1),
        .detection_access__valid(1'b0), .detection_access__payload('0), .detection_readback__ready(1'b1),
        .stimulation_access__valid(1'b0), .stimulation_access__payload('0), .stimulation_readback__ready(1'b1),
        .overrun(overrun), .rejected(rejected)
    );

    for (genvar i = 0; i < CHIPS; i++) begin : chips
        amplifier amplifier (
            .cs_n(cs_n), .sclk(sclk), .mosi(mosi), .miso(miso[i]), .present(present),
            .codes(codes[i*32*16+:32*16]), .registers(registers[i*18*8+:18*8])
        );
    end
endmodule
