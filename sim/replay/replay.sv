// Replays recorded events through the microcircuit core and records every step, without help from outside.
//
// Python touches the simulation at its start and its end only, so a long session runs at the simulator's
// own speed. Files and options come as plusargs:
//   +stimulus=FILE  records of 128 bits, big-endian, ascending in step:
//                   step[32] channel[16] parameter[8] kind[8] word[64];  kind 0 PN, 1 IO, 3 blanked,
//                   255 parameter write
//   +entries=N      how many of them there are
//   +record=FILE    out: 64 bits a commit, or 192 with +full, native 32-bit words, low word first; then the end
//                   mark, 256 bits: END_MARK[64] commits[64] recalibrations[64] sum[64], the sum of all words of
//                   64 bits before it, those of +recalibrations too
//   +recalibrations=FILE  out: 256 bits a recalibration: step[32] channel[16] status[16] rate[64] potentiation[64]
//                   depression[64], in the order and words of +record
//   +steps=N        steps to run
//   +cycles=N       clock cycles after which the core hangs (who starts the simulation watches them)
//   +expected=FILE  records of 192 bits, big-endian, one a commit: shown beside the actual signals
//   +waves=FILE     VCD
`timescale 1ns / 1ns

module replay #(
    parameter CHANNELS = 1,
    parameter CHANNEL_BITS = 1,
    parameter WORD_BITS = 32,
    parameter PARAMETER_BITS = 5,
    parameter STEP_CYCLES = 4,
    parameter [63:0] END_MARK = 0
);
    reg clk = 0;
    always #1 clk = ~clk;

    reg rst = 1;
    reg tick = 0;
    reg events_valid = 0, access_valid = 0;
    reg [15:0] channel = 0;
    reg [1:0] kind = 0;
    reg [7:0] number = 0;
    reg [63:0] word = 0;

    wire events_ready, access_ready, responses_valid, overrun, rejected, commit_valid, last;
    wire [191:0] committed;
    wire recalibrated;
    wire [63:0] head, rate, potentiation, depression;

    replay_core #(
        .CHANNELS(CHANNELS), .CHANNEL_BITS(CHANNEL_BITS), .WORD_BITS(WORD_BITS),
        .PARAMETER_BITS(PARAMETER_BITS)
    ) core (
        .clk(clk), .rst(rst), .tick(tick),
        .sending(events_valid), .writing(access_valid), .channel(channel), .kind(kind), .number(number),
        .word(word), .taken(events_ready), .written(access_ready),
        .committed(commit_valid), .last(last), .responded(responses_valid),
        .low(committed[63:0]), .middle(committed[127:64]), .high(committed[191:128]),
        .recalibrated(recalibrated), .head(head), .rate(rate), .potentiation(potentiation),
        .depression(depression), .overrun(overrun), .rejected(rejected)
    );
    wire [17:0] events_payload = {kind, channel};

    string path;
    reg [191:0] actual = 0, expected = 0;
    integer stimulus_file, record_file, recalibration_file, expected_file = 0, count;
    reg full;
    reg [31:0] steps, step = 0;
    reg [31:0] entries, taken = 0;
    reg [63:0] commits = 0, rounds = 0, sum = 0;
    reg [127:0] pending;
    reg have_pending;
    reg done = 0, failed = 0, unknown = 0;
    // Every step but the first, which waits for the initialisation, takes the cycles that the core states.
    reg late = 0;
    reg [31:0] cycles = 0;

    wire due = have_pending && pending[127:96] == step;
    wire [15:0] pending_channel = pending[95:80];
    wire [7:0] pending_parameter = pending[79:72];
    wire [7:0] pending_kind = pending[71:64];

    localparam RESET = 0, NEXT = 1, EVENT = 2, WRITE = 3, STEP = 4, DONE = 5;
    reg [2:0] phase = RESET;
    reg [1:0] reset_cycles = 0;

    task fetch;
        begin
            count = $fread(pending, stimulus_file);
            have_pending = count == 16;
        end
    endtask

    initial begin
        if (!$value$plusargs("stimulus=%s", path)) failed = 1;
        stimulus_file = $fopen(path, "rb");
        if (!$value$plusargs("record=%s", path)) failed = 1;
        record_file = $fopen(path, "wb");
        if (!$value$plusargs("recalibrations=%s", path)) failed = 1;
        recalibration_file = $fopen(path, "wb");
        if (!$value$plusargs("steps=%d", steps)) failed = 1;
        if (!$value$plusargs("entries=%d", entries)) failed = 1;
        full = $test$plusargs("full");
        if ($value$plusargs("expected=%s", path)) expected_file = $fopen(path, "rb");
        if (stimulus_file == 0 || record_file == 0 || recalibration_file == 0) failed = 1;
        if ($value$plusargs("waves=%s", path)) begin
            $dumpfile(path);
            $dumpvars(0, replay);
        end
        fetch;
    end

    always @(posedge clk) begin
        case (phase)
            RESET: begin
                reset_cycles <= reset_cycles + 1;
                if (reset_cycles == 3) begin
                    rst <= 0;
                    phase <= NEXT;
                end
            end
            NEXT:
                if (due && pending_kind == 255) begin
                    access_valid <= 1;
                    channel <= pending_channel;
                    number <= pending_parameter;
                    word <= pending[63:0];
                    phase <= WRITE;
                end else if (due) begin
                    events_valid <= 1;
                    channel <= pending_channel;
                    kind <= pending_kind[1:0];
                    phase <= EVENT;
                end else if (step == steps) begin
                    $fclose(recalibration_file);
                    $fwrite(record_file, "%u", {sum, rounds, commits, END_MARK});
                    $fclose(record_file);
                    if (taken != entries) failed <= 1;
                    phase <= DONE;
                end else begin
                    tick <= 1;
                    cycles <= 0;
                    phase <= STEP;
                end
            EVENT:
                if (events_ready) begin
                    events_valid <= 0;
                    taken <= taken + 1;
                    fetch;
                    phase <= NEXT;
                end
            WRITE:
                if (access_ready) begin
                    access_valid <= 0;
                    taken <= taken + 1;
                    fetch;
                    phase <= NEXT;
                end
            STEP: begin
                tick <= 0;
                cycles <= cycles + 1;
                if (commit_valid && last) begin
                    if (step != 0 && cycles != STEP_CYCLES) late <= 1;
                    step <= step + 1;
                    phase <= NEXT;
                end
            end
            default: done <= 1;
        endcase
        if (commit_valid) begin
            commits <= commits + 1;
            sum = sum + committed[63:0];
            if (full) begin
                sum = sum + committed[127:64] + committed[191:128];
                $fwrite(record_file, "%u", committed);
            end else $fwrite(record_file, "%u", committed[63:0]);
            if (^(full ? committed : {128'd0, committed[63:0]}) === 1'bx) unknown <= 1;
            actual <= committed;
            if (expected_file != 0) count = $fread(expected, expected_file);
        end
        if (recalibrated) begin
            rounds <= rounds + 1;
            sum = sum + (head | (step + 32'd1)) + rate + potentiation + depression;
            $fwrite(recalibration_file, "%u", {depression, potentiation, rate, head[63:32], step + 32'd1});
        end
        if (overrun || rejected || unknown) failed <= 1;
    end

    // Both sides by name, for waves.
    wire mismatch = expected_file != 0 && actual != expected;
    wire actual_active = actual[0], expected_active = expected[0];
    wire actual_plasticity_trace = actual[1], expected_plasticity_trace = expected[1];
    wire actual_delayed_inhibition = actual[2], expected_delayed_inhibition = expected[2];
    wire actual_gated_io = actual[3], expected_gated_io = expected[3];
    wire actual_below = actual[4], expected_below = expected[4];
    wire actual_cr = actual[5], expected_cr = expected[5];
    wire actual_inhibition = actual[6], expected_inhibition = expected[6];
    wire actual_response = actual[7], expected_response = expected[7];
    wire [47:0] actual_weight = actual[63:16], expected_weight = expected[63:16];
    wire [15:0] actual_age = actual[79:64], expected_age = expected[79:64];
    wire [47:0] actual_trace = actual[127:80], expected_trace = expected[127:80];
    wire [63:0] actual_scaled = actual[191:128], expected_scaled = expected[191:128];
endmodule
