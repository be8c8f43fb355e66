// A board's netlist at its pins, with amplifier chips and a serial cable around it, for board.cpp.
`timescale 1ns / 1ns

module board_bench #(
    parameter CHIPS = 1,
    parameter CHANNELS = 32,
    parameter FRAME_CYCLES = 480,
    parameter BYTE_CYCLES = 120
) (
    input clk, rst, emergency_stop, present,
    input rx_valid, tx_ready,
    input [7:0] rx,
    output reg tx_valid,
    output [7:0] tx,
    input [CHIPS*32*16-1:0] codes,
    output [CHIPS*18*8-1:0] registers,
    output running, frame, train, armed, fault, cathodic, anodic, stimulate
);
    wire [CHIPS-1:0] cs_n, sclk, mosi, miso;
    wire uart_rx, uart_tx;

    // Written by netlist_board.py: the pins of this board, by names that all boards have.
    pins pins (
        .clk(clk), .emergency_stop(emergency_stop), .uart_rx(uart_rx), .uart_tx(uart_tx),
        .cs_n(cs_n), .sclk(sclk), .mosi(mosi), .miso(miso),
        .cathodic(cathodic), .anodic(anodic), .stimulate(stimulate),
        .running(running), .armed(armed), .fault(fault)
    );

    for (genvar i = 0; i < CHIPS; i++) begin : chips
        amplifier amplifier (
            .cs_n(cs_n[i]), .sclk(sclk[i]), .mosi(mosi[i]), .miso(miso[i]), .present(present),
            .codes(codes[i*32*16+:32*16]), .registers(registers[i*18*8+:18*8])
        );
    end

    // Frames follow each other from the cycle on in which the lamp lights. A train of pulses shows at no pin: it may
    // always be.
    integer since = 0;
    always @(posedge clk) since <= !running || since == FRAME_CYCLES - 1 ? 0 : since + 1;
    assign frame = running && since == 0;
    assign train = 1'b1;

    // To the board: start bit, eight data bits, stop bit. A bit is over when ten times its cycles have added up to a
    // byte's.
    reg [9:0] leaving = 10'h3FF;
    integer sent = 0;
    assign uart_rx = leaving[0];
    always @(posedge clk)
        if (rx_valid) begin
            leaving <= {1'b1, rx, 1'b0};
            sent <= 0;
        end else if (sent + 10 >= BYTE_CYCLES) begin
            leaving <= {1'b1, leaving[9:1]};
            sent <= sent + 10 - BYTE_CYCLES;
        end else sent <= sent + 10;

    // From the board: each bit in its middle.
    reg [8:0] came;
    reg [3:0] left = 0;
    integer passed = 0;
    assign tx = came[7:0];
    initial tx_valid = 0;
    always @(posedge clk) begin
        if (tx_ready) tx_valid <= 0;
        if (left == 0) begin
            passed <= BYTE_CYCLES / 2;
            if (!uart_tx) left <= 10;
        end else if (passed + 10 >= BYTE_CYCLES) begin
            passed <= passed + 10 - BYTE_CYCLES;
            left <= left - 1;
            came <= {uart_tx, came[8:1]};
            if (left == 1) begin
                if (!uart_tx) $fatal(1, "a byte without a stop bit");
                tx_valid <= 1;
            end
        end else passed <= passed + 10;
    end
endmodule
