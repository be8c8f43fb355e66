// The digital side of an Intan RHD2000 amplifier chip, after its data sheet: commands, registers, results, calibration.
// Driven by the edges of its own pins, without a clock. Runs in Verilator without --timing, and in Icarus.
`timescale 1ps / 1ps

// Every property of the chip is an input, so that a bench can change it.
module rhd2000 (
    input cs_n, sclk, mosi,
    output miso,
    input present,              // plugged in; out and in again is a power-up
    input [1:0] line_unplugged, // MISO of a chip that is not there: 0 low, 1 high, 2 garbage
    input brown_out,            // rising: registers and calibration are lost, nothing else; low before CS rises
    input [7:0] chip_id, amplifiers,
    input [32*16-1:0] codes,    // what converting each input gives; sampled as CS falls after its CONVERT
    output [18*8-1:0] registers,
    output reg calibrated
);
    localparam CALIBRATION_COMMANDS = 9;
    localparam [15:0] UNCALIBRATED = 16'h0155;  // how far off a converter is that was never calibrated

    reg [7:0] kept[18];
    for (genvar i = 0; i < 18; i++) begin : flatten
        assign registers[i*8+:8] = kept[i];
    end

    // In: the bits of this command, and how many.
    reg [15:0] command;
    reg [4:0] bits;
    always @(posedge sclk or posedge cs_n)
        if (cs_n) bits <= 0;
        else begin
            command <= {command[14:0], mosi};
            if (bits != 31) bits <= bits + 1;
        end

    // Answers: to the last command, and to the one before, which goes out next. A conversion is done in between.
    reg [15:0] answer, answer_before, sampled, word;
    reg converts;
    reg [5:0] input_number;
    reg [3:0] calibration_left;
    wire twos_complement = kept[4][6];
    wire [15:0] nothing = {~twos_complement, 15'b0};
    wire [5:0] address = command[13:8];
    wire complete = bits == 16;

    function automatic [7:0] rom(input [5:0] at);
        case (at)
            6'd40: rom = "I";
            6'd41: rom = "N";
            6'd42: rom = "T";
            6'd43: rom = "A";
            6'd44: rom = "N";
            6'd59: rom = chip_id == 4 ? 8'd53 : 8'd0;
            6'd60: rom = 8'd1;
            6'd61: rom = chip_id == 2 ? 8'd0 : 8'd1;
            6'd62: rom = amplifiers;
            6'd63: rom = chip_id;
            default: rom = 8'd0;
        endcase
    endfunction

    integer r;
    always @(posedge cs_n or negedge present or posedge brown_out)
        if (!present || brown_out) begin
            for (r = 0; r < 18; r = r + 1) kept[r] <= 8'h00;
            calibrated <= 0;
            calibration_left <= 0;
            if (!present) begin
                converts <= 0;
                answer <= 0;
                answer_before <= 0;
                input_number <= 0;
            end
        end else begin
            answer_before <= converts ? sampled : answer;
            answer <= nothing;
            converts <= 0;
            if (calibration_left != 0) begin  // clock cycles for the calibration, whatever the command
                calibration_left <= calibration_left - 1;
                if (calibration_left == 1) calibrated <= 1;
            end else if (complete)
                case (command[15:14])
                    2'b00: begin
                        converts <= 1;
                        // 63: the next one
                        if (address != 63) input_number <= address;
                        else input_number <= {2'b0, input_number} + 8'd1 >= amplifiers ? 6'd0 : input_number + 6'd1;
                    end
                    2'b01:
                        if (address == 6'b010101) begin
                            calibrated <= 0;
                            calibration_left <= CALIBRATION_COMMANDS;
                        end else if (address == 6'b101010) calibrated <= 0;
                    2'b10: begin
                        answer <= {8'hFF, command[7:0]};
                        if (address < 18) kept[address[4:0]] <= command[7:0];
                    end
                    2'b11: answer <= {8'h00, address < 18 ? kept[address[4:0]] : rom(address)};
                endcase
        end

    wire [15:0] code = input_number < 32 ? codes[{input_number[4:0], 4'b0}+:16] : nothing;
    always @(negedge cs_n) begin
        sampled <= calibrated ? code : code + UNCALIBRATED;
        word <= answer_before;
    end

    // Out: the first bit as CS falls, the next with each falling SCLK.
    reg [3:0] at;
    always @(negedge sclk or posedge cs_n)
        if (cs_n) at <= 15;
        else at <= at - 1;

    reg [15:0] garbage;
    always @(negedge sclk) garbage <= {garbage[14:0], garbage[15] ^ garbage[13] ^ garbage[12] ^ garbage[10]};

    initial begin
        for (r = 0; r < 18; r = r + 1) kept[r] = 8'h00;
        {calibrated, converts, calibration_left, answer, answer_before, sampled, word, input_number} = 0;
        {command, bits, at} = 0;
        garbage = 16'hACE1;
    end

    assign miso = !present ? (line_unplugged == 2 ? garbage[0] : line_unplugged[0]) : !cs_n & word[at];
endmodule


// The chip that fits, an RHD2132.
module amplifier (
    input cs_n, sclk, mosi,
    output miso,
    input present,
    input [32*16-1:0] codes,
    output [18*8-1:0] registers
);
    rhd2000 chip (
        .cs_n(cs_n), .sclk(sclk), .mosi(mosi), .miso(miso), .present(present), .line_unplugged(2'd0),
        .brown_out(1'b0), .chip_id(8'd1), .amplifiers(8'd32), .codes(codes), .registers(registers),
        .calibrated()
    );
endmodule


// A cable that delays by `delay` cycles of the bench's clock, at most 31.
module cable (
    input clk,
    input [4:0] delay,
    input in,
    output out
);
    reg [30:0] line;
    initial line = 0;
    always @(posedge clk) line <= {line[29:0], in};
    wire [31:0] taps = {line, in};
    assign out = taps[delay];
endmodule


// Whether the pins keep the data sheet's times, measured in cycles of the clock from which they come.
module spi_checker #(
    parameter CLOCK_PS = 41666  // rounded down
) (
    input clk, cs_n, sclk, mosi,
    output reg [31:0] violations,
    output reg [3:0] first  // 0 none, else the lowest number below of the first
);
    localparam CS_HIGH = 1, SCLK_LOW = 2, SCLK_HIGH = 3, LEAD = 4, TRAIL = 5, SET_UP = 6, HOLD = 7, CLOCKS = 8;
    localparam PERIOD = 9, SCLK_IDLE = 10;
    localparam NEVER = 1 << 20;

    // Rounded to picoseconds, the period may be short by one of them a cycle.
    function automatic short(input integer cycles, input integer limit_ps);
        short = cycles < NEVER && cycles * (CLOCK_PS + 1) < limit_ps;
    endfunction

    reg was_cs_n, was_sclk, was_mosi;
    integer since_cs, since_rise, since_fall, since_mosi, clocks;
    initial begin
        {violations, first, was_sclk, was_mosi} = 0;
        was_cs_n = 1;
        {since_cs, since_rise, since_fall, since_mosi} = {4{NEVER}};
        clocks = 0;
    end

    wire cs_falls = was_cs_n & ~cs_n, cs_rises = ~was_cs_n & cs_n;
    wire rises = ~was_sclk & sclk, falls = was_sclk & ~sclk, mosi_changes = was_mosi != mosi;
    wire [10:1] bad;
    assign bad[CS_HIGH] = cs_falls & short(since_cs, 154_000);
    assign bad[SCLK_LOW] = rises & short(since_fall, 20_800);
    assign bad[SCLK_HIGH] = falls & short(since_rise, 20_800);
    assign bad[LEAD] = rises & (cs_n | cs_falls | short(since_cs, 20_800));
    assign bad[TRAIL] = cs_rises & (falls | short(since_fall, 20_800));
    assign bad[SET_UP] = rises & (mosi_changes | short(since_mosi, 10_400));
    assign bad[HOLD] = mosi_changes & ~cs_n & short(since_rise, 10_400);
    assign bad[CLOCKS] = cs_rises & (clocks != 16);
    assign bad[PERIOD] = rises & short(since_rise, 41_666);
    assign bad[SCLK_IDLE] = cs_n & (sclk | was_sclk);

    always @(posedge clk) begin
        {was_cs_n, was_sclk, was_mosi} <= {cs_n, sclk, mosi};
        since_cs <= cs_falls | cs_rises ? 1 : since_cs < NEVER ? since_cs + 1 : NEVER;
        since_rise <= rises ? 1 : since_rise < NEVER ? since_rise + 1 : NEVER;
        since_fall <= falls ? 1 : since_fall < NEVER ? since_fall + 1 : NEVER;
        since_mosi <= mosi_changes ? 1 : since_mosi < NEVER ? since_mosi + 1 : NEVER;
        clocks <= cs_falls ? 0 : clocks + (rises ? 1 : 0);
        if (bad != 0) begin
            violations <= violations + 1;
            if (first == 0)
                for (integer i = 10; i > 0; i = i - 1) if (bad[i]) first <= i[3:0];
        end
    end
endmodule
