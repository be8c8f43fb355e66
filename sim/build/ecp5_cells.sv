// Block RAM and multiplier of the ECP5, for netlists: Yosys has no models of these two. As in Lattice's "ECP5 and
// ECP5-5G Memory User Guide" (FPGA-TN-02204) and "sysDSP Usage Guide" (FPGA-TN-02205), in the modes that Yosys uses;
// any other ends the simulation.

// 512 rows of 36 bits, seen by each port as words of its own width: of 9, 18 or 36 bits, or of 1, 2 or 4 bits without
// each ninth one. A word of 18 bits or more is written by bytes, which its lowest address bits enable.
module DP16KD #(
    parameter [319:0]
    INITVAL_00 = 320'd0, INITVAL_01 = 320'd0, INITVAL_02 = 320'd0, INITVAL_03 = 320'd0, INITVAL_04 = 320'd0,
    INITVAL_05 = 320'd0, INITVAL_06 = 320'd0, INITVAL_07 = 320'd0, INITVAL_08 = 320'd0, INITVAL_09 = 320'd0,
    INITVAL_0A = 320'd0, INITVAL_0B = 320'd0, INITVAL_0C = 320'd0, INITVAL_0D = 320'd0, INITVAL_0E = 320'd0,
    INITVAL_0F = 320'd0, INITVAL_10 = 320'd0, INITVAL_11 = 320'd0, INITVAL_12 = 320'd0, INITVAL_13 = 320'd0,
    INITVAL_14 = 320'd0, INITVAL_15 = 320'd0, INITVAL_16 = 320'd0, INITVAL_17 = 320'd0, INITVAL_18 = 320'd0,
    INITVAL_19 = 320'd0, INITVAL_1A = 320'd0, INITVAL_1B = 320'd0, INITVAL_1C = 320'd0, INITVAL_1D = 320'd0,
    INITVAL_1E = 320'd0, INITVAL_1F = 320'd0, INITVAL_20 = 320'd0, INITVAL_21 = 320'd0, INITVAL_22 = 320'd0,
    INITVAL_23 = 320'd0, INITVAL_24 = 320'd0, INITVAL_25 = 320'd0, INITVAL_26 = 320'd0, INITVAL_27 = 320'd0,
    INITVAL_28 = 320'd0, INITVAL_29 = 320'd0, INITVAL_2A = 320'd0, INITVAL_2B = 320'd0, INITVAL_2C = 320'd0,
    INITVAL_2D = 320'd0, INITVAL_2E = 320'd0, INITVAL_2F = 320'd0, INITVAL_30 = 320'd0, INITVAL_31 = 320'd0,
    INITVAL_32 = 320'd0, INITVAL_33 = 320'd0, INITVAL_34 = 320'd0, INITVAL_35 = 320'd0, INITVAL_36 = 320'd0,
    INITVAL_37 = 320'd0, INITVAL_38 = 320'd0, INITVAL_39 = 320'd0, INITVAL_3A = 320'd0, INITVAL_3B = 320'd0,
    INITVAL_3C = 320'd0, INITVAL_3D = 320'd0, INITVAL_3E = 320'd0, INITVAL_3F = 320'd0,
    parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18, REGMODE_A = "NOREG", REGMODE_B = "NOREG",
    parameter RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC", GSR = "ENABLED",
    parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000", WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL",
    parameter CLKAMUX = "CLKA", CLKBMUX = "CLKB"
) (
    // Port A.
    input
        DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2,
        DIA1, DIA0,
    input
        ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
    input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
    output
        DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2,
        DOA1, DOA0,
    // Port B.
    input
        DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2,
        DIB1, DIB0,
    input
        ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
    input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
    output
        DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2,
        DOB1, DOB0
);
    initial if (REGMODE_A != "NOREG" || REGMODE_B != "NOREG" || CSDECODE_A != "0b000" || CSDECODE_B != "0b000")
        $fatal(1, "DP16KD: output registers and chip selects are not modelled");
    initial if (CLKAMUX != "CLKA" || CLKBMUX != "CLKB") $fatal(1, "DP16KD: falling edges are not modelled");

    reg [35:0] rows [0:511];
    localparam [20479:0] INITIAL = {
        INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39, INITVAL_38,
        INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30,
        INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28,
        INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24, INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20,
        INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18,
        INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10,
        INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08,
        INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01, INITVAL_00
    };
    initial for (integer i = 0; i < 512; i = i + 1) rows[i] = {INITIAL[40*i+20+:18], INITIAL[40*i+:18]};

    // Where a port's word begins in its row.
    function automatic [5:0] offset(input integer width, input [13:0] address);
        offset = (width < 36 && address[4] ? 18 : 0) + (width < 18 && address[3] ? 9 : 0)
               + (width < 9 && address[2] ? 4 : 0) + (width < 4 && address[1] ? 2 : 0)
               + (width < 2 && address[0] ? 1 : 0);
    endfunction

    // The bits of a port's word that are written.
    function automatic [35:0] enabled(input integer width, input [13:0] address);
        if (width < 18) enabled = (36'd1 << width) - 36'd1;
        else enabled = {{9{width == 36 && address[3]}}, {9{width == 36 && address[2]}}, {9{address[1]}},
        {9{address[0]}}};
    endfunction

    // With a width of 36 bits port A writes by both data inputs, and port B reads by both outputs.
    wire [13:0] address_a = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
    wire [13:0] address_b = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
    wire [17:0] data_b = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5,
        DIB4, DIB3, DIB2, DIB1, DIB0};
    wire [35:0] data_a = {data_b, DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6,
        DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
    wire [5:0] offset_a = offset(DATA_WIDTH_A, address_a), offset_b = offset(DATA_WIDTH_B, address_b);
    wire selected_a = ~(CSA2 | CSA1 | CSA0), selected_b = ~(CSB2 | CSB1 | CSB0);
    // A reset in the clock's time blocks a write.
    wire write_a = selected_a & CEA & WEA & ~RSTA, write_b = selected_b & CEB & WEB & ~RSTB;
    wire [35:0] mask_a = write_a ? enabled(DATA_WIDTH_A, address_a) << offset_a : 36'd0;
    wire [35:0] mask_b = write_b ? enabled(DATA_WIDTH_B, address_b) << offset_b : 36'd0;
    wire [35:0] row_a = rows[address_a[13:5]], row_b = rows[address_b[13:5]];
    wire [35:0] new_a = data_a << offset_a & mask_a;
    wire [35:0] new_b = {18'd0, data_b} << offset_b & mask_b;
    wire meet = address_a[13:5] == address_b[13:5];

    // What a read finds: the other port's write in the same cycle inverts it, as no order of the two is sure.
    wire [35:0] found_a = (WRITEMODE_A == "WRITETHROUGH" ? (row_a & ~mask_a | new_a) : row_a) ^ (meet ? mask_b : 36'd0);
    wire [35:0] found_b = (WRITEMODE_B == "WRITETHROUGH" ? (row_b & ~mask_b | new_b) : row_b) ^ (meet ? mask_a : 36'd0);
    reg [35:0] read_a = 0, read_b = 0;
    wire clear_a = RESETMODE == "ASYNC" & RSTA, clear_b = RESETMODE == "ASYNC" & RSTB;

    always @(posedge CLKA, posedge clear_a)
        if (clear_a || RSTA) read_a <= 0;
        else if (selected_a && CEA && !(WEA && WRITEMODE_A == "NORMAL")) read_a <= found_a >> offset_a;
    always @(posedge CLKB, posedge clear_b)
        if (clear_b || RSTB) read_b <= 0;
        else if (selected_b && CEB && !(WEB && WRITEMODE_B == "NORMAL")) read_b <= found_b >> offset_b;
    // Both ports have one clock in this gateware: a row that both write gets the words of both.
    wire [35:0] beside_a = meet ? mask_b : 36'd0, beside_b = meet ? mask_a : 36'd0;
    always @(posedge CLKA)
        if (write_a) rows[address_a[13:5]] <= row_a & ~mask_a & ~beside_a | new_a | new_b & beside_a;
    always @(posedge CLKB)
        if (write_b) rows[address_b[13:5]] <= row_b & ~mask_b & ~beside_b | new_b | new_a & beside_b;

    wire [17:0] out_a = DATA_WIDTH_B == 36 ? read_b[17:0] : read_a[17:0];
    wire [17:0] out_b = DATA_WIDTH_B == 36 ? read_b[35:18] : read_b[17:0];
    assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2,
        DOA1, DOA0} = out_a;
    assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2,
        DOB1, DOB0} = out_b;
endmodule

module MULT18X18D #(
    parameter REG_INPUTA_CLK = "NONE", REG_INPUTB_CLK = "NONE", REG_INPUTC_CLK = "NONE",
    parameter REG_PIPELINE_CLK = "NONE", REG_OUTPUT_CLK = "NONE"
) (
    input
        A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
    input
        B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
    input
        C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
    output
        P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15,
        P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
    initial if (REG_INPUTA_CLK != "NONE" || REG_INPUTB_CLK != "NONE" || REG_PIPELINE_CLK != "NONE" || REG_OUTPUT_CLK != "NONE")
        $fatal(1, "MULT18X18D: registers are not modelled");

    wire [17:0] a = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
    wire [17:0] b = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
    wire signed [35:0] product = $signed({SIGNEDA & a[17], a}) * $signed({SIGNEDB & b[17], b});
    // Inputs from a neighbour's shift register are none that this model has.
    assign {
        P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15,
        P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
    } = SOURCEA | SOURCEB ? 36'd0 : product;
endmodule
