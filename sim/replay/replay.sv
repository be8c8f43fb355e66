// Replays recorded events through the microcircuit core and records every step, without help from outside.
//
// Python touches the simulation at its start and its end only, so a long session runs at the simulator's
// own speed. Files and options come as plusargs:
//   +stimulus=FILE  records of 128 bits, big-endian, ascending in step:
//                   step[32] channel[16] parameter[8] kind[8] word[64];  kind 0 PN, 1 IO, 3 blanked,
//                   255 parameter write
//   +record=FILE    out: 64 bits a commit, or 192 with +full, native 32-bit words, low word first
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
    parameter STEP_CYCLES = 4
);
    reg clk = 0;
    always #1 clk = ~clk;

    reg rst = 1;
    reg tick = 0;
    reg events_valid = 0;
    reg [CHANNEL_BITS+1:0] events_payload = 0;
    reg access_valid = 0;
    reg [WORD_BITS+CHANNEL_BITS+PARAMETER_BITS:0] access_payload = 0;

    wire events_ready, access_ready, responses_valid, readback_valid, busy, overrun, rejected;
    wire [CHANNEL_BITS+1:0] responses_payload;
    wire [WORD_BITS-1:0] readback_payload;
    wire commit_valid;
    wire [CHANNEL_BITS-1:0] commit_channel;
    // As wide as a record's fields; the core drives the low bits.
    wire [15:0] age;
    wire [47:0] trace, weight;
    wire [63:0] scaled;
    wire active, plasticity_trace, delayed_inhibition, gated_io, below, cr, inhibition;

    wire recalibrated_valid;
    wire [15:0] recalibrated_channel, recalibrated_status;
    wire [63:0] recalibrated_rate, recalibrated_potentiation, recalibrated_depression;

    microcircuit dut (
        .clk(clk), .rst(rst), .tick(tick),
        .events__valid(events_valid), .events__ready(events_ready), .events__payload(events_payload),
        .responses__valid(responses_valid), .responses__ready(1'b1), .responses__payload(responses_payload),
        .access__valid(access_valid), .access__ready(access_ready), .access__payload(access_payload),
        .readback__valid(readback_valid), .readback__ready(1'b1), .readback__payload(readback_payload),
        .commit__valid(commit_valid), .commit__channel(commit_channel), .commit__age(age),
        .commit__active(active), .commit__trace(trace), .commit__plasticity_trace(plasticity_trace),
        .commit__delayed_inhibition(delayed_inhibition), .commit__gated_io(gated_io),
        .commit__weight(weight), .commit__scaled(scaled), .commit__below(below), .commit__cr(cr),
        .commit__inhibition(inhibition),
        .recalibrated__valid(recalibrated_valid), .recalibrated__channel(recalibrated_channel),
        .recalibrated__status(recalibrated_status), .recalibrated__rate(recalibrated_rate),
        .recalibrated__potentiation(recalibrated_potentiation),
        .recalibrated__depression(recalibrated_depression),
        .busy(busy), .overrun(overrun), .rejected(rejected)
    );

    // The response that leaves on the stream, so that the record holds what a user of the core gets.
    wire response = responses_valid && responses_payload == {2'd2, commit_channel};
    wire [191:0] committed = {
        scaled,
        trace, age,
        weight, 8'd0, response, inhibition, cr, below, gated_io, delayed_inhibition, plasticity_trace, active
    };

    string path;
    reg [191:0] actual = 0, expected = 0;
    integer stimulus_file, record_file, recalibration_file, expected_file = 0, count;
    reg full;
    reg [31:0] steps, step = 0;
    reg [127:0] pending;
    reg have_pending;
    reg done = 0, failed = 0;
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
                    access_payload <= {
                        pending[WORD_BITS-1:0], 1'b1, pending_parameter[PARAMETER_BITS-1:0],
                        pending_channel[CHANNEL_BITS-1:0]
                    };
                    phase <= WRITE;
                end else if (due) begin
                    events_valid <= 1;
                    events_payload <= {pending_kind[1:0], pending_channel[CHANNEL_BITS-1:0]};
                    phase <= EVENT;
                end else if (step == steps) begin
                    $fclose(record_file);
                    $fclose(recalibration_file);
                    phase <= DONE;
                end else begin
                    tick <= 1;
                    cycles <= 0;
                    phase <= STEP;
                end
            EVENT:
                if (events_ready) begin
                    events_valid <= 0;
                    fetch;
                    phase <= NEXT;
                end
            WRITE:
                if (access_ready) begin
                    access_valid <= 0;
                    fetch;
                    phase <= NEXT;
                end
            STEP: begin
                tick <= 0;
                cycles <= cycles + 1;
                if (commit_valid && commit_channel == CHANNELS - 1) begin
                    if (step != 0 && cycles != STEP_CYCLES) late <= 1;
                    step <= step + 1;
                    phase <= NEXT;
                end
            end
            default: done <= 1;
        endcase
        if (commit_valid) begin
            if (full) $fwrite(record_file, "%u", committed);
            else $fwrite(record_file, "%u", committed[63:0]);
            actual <= committed;
            if (expected_file != 0) count = $fread(expected, expected_file);
        end
        if (recalibrated_valid)
            $fwrite(recalibration_file, "%u", {
                recalibrated_depression, recalibrated_potentiation, recalibrated_rate,
                recalibrated_status, recalibrated_channel, step + 32'd1
            });
        if (overrun || rejected) failed <= 1;
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
