// Replays recorded samples through the event detection and records every sample's end, without help from outside.
//
// Python touches the simulation at its start and its end only, as with replay.sv. Files and options come as
// plusargs:
//   +stimulus=FILE  32 bits a sample, big-endian, frame by frame: blanked[1] sample[31]
//   +writes=FILE    records of 128 bits, big-endian, ascending in frame:
//                   frame[32] electrode[16] row[8] unused[8] word[64]
//   +record=FILE    out: 64 bits a sample, or 320 with +full, native 32-bit words, low word first
//   +steps=N        frames to run
//   +cycles=N       clock cycles after which the detection hangs (who starts the simulation watches them)
//   +pressure       events are taken at times only
//   +waves=FILE     VCD
`timescale 1ns / 1ns

module detection_replay #(
    parameter ELECTRODES = 1,
    parameter ELECTRODE_BITS = 1,
    parameter SAMPLE_BITS = 16,
    parameter WORD_BITS = 38,
    parameter ROW_BITS = 5,
    parameter LATENCY = 19,
    parameter INTERVAL = 20
);
    reg clk = 0;
    always #1 clk = ~clk;

    reg rst = 1;
    reg frame = 0;
    reg samples_valid = 0;
    reg access_valid = 0;
    reg [WORD_BITS+ROW_BITS+ELECTRODE_BITS:0] access_payload = 0;

    wire samples_ready, access_ready, events_valid, readback_valid, busy, rejected;
    wire [ELECTRODE_BITS-1:0] events_payload;
    wire [WORD_BITS-1:0] readback_payload;
    wire commit_valid, commit_blanked, commit_event;
    wire [ELECTRODE_BITS-1:0] commit_electrode;
    // As wide as a record's fields; the detection drives the low bits.
    wire [63:0] filtered, mean, variability, threshold;

    reg [31:0] sample = 0;
    reg [ELECTRODE_BITS-1:0] electrode = 0;
    reg pressure;
    reg [15:0] noise = 16'hACE1;
    wire events_ready = !pressure || noise[0];

    detection dut (
        .clk(clk), .rst(rst), .frame(frame),
        .samples__valid(samples_valid), .samples__ready(samples_ready),
        .samples__payload({sample[31], sample[SAMPLE_BITS-1:0], electrode}),
        .events__valid(events_valid), .events__ready(events_ready), .events__payload(events_payload),
        .access__valid(access_valid), .access__ready(access_ready), .access__payload(access_payload),
        .readback__valid(readback_valid), .readback__ready(1'b1), .readback__payload(readback_payload),
        .commit__valid(commit_valid), .commit__electrode(commit_electrode), .commit__blanked(commit_blanked),
        .commit__filtered(filtered), .commit__mean(mean), .commit__variability(variability),
        .commit__threshold(threshold), .commit__event(commit_event),
        .busy(busy), .rejected(rejected)
    );

    // The event that leaves on the stream, so that the record holds what a user of the block gets.
    wire sent = events_valid && events_ready && events_payload == commit_electrode;

    string path;
    integer stimulus_file, writes_file, record_file, count;
    reg full;
    reg [31:0] steps, step = 0;
    reg [127:0] pending;
    reg have_pending;
    reg done = 0, failed = 0;
    reg overrun = 0;  // there are no ticks to lose
    reg unknown = 0;  // each word is compared

    // Where the detection is empty a sample takes LATENCY cycles, and the next ones INTERVAL each. Cycles in which an
    // event is not taken come on top; the band-pass goes on in them, so that samples after them may take less.
    reg late = 0, first = 0, delayed = 0;
    reg [31:0] cycles = 0, stalled = 0, committed = 0;

    wire [63:0] summary = {step, {(16 - ELECTRODE_BITS){1'b0}}, commit_electrode, 13'd0, commit_blanked, sent, commit_event};

    wire due = have_pending && pending[127:96] == step;

    localparam RESET = 0, NEXT = 1, WRITE = 2, SAMPLE = 3, DRAIN = 4, DONE = 5;
    reg [2:0] phase = RESET;
    reg [1:0] reset_cycles = 0;

    task fetch_write;
        begin
            count = $fread(pending, writes_file);
            have_pending = count == 16;
        end
    endtask

    task fetch_sample;
        begin
            count = $fread(sample, stimulus_file);
        end
    endtask

    initial begin
        if (!$value$plusargs("stimulus=%s", path)) failed = 1;
        stimulus_file = $fopen(path, "rb");
        if (!$value$plusargs("writes=%s", path)) failed = 1;
        writes_file = $fopen(path, "rb");
        if (!$value$plusargs("record=%s", path)) failed = 1;
        record_file = $fopen(path, "wb");
        if (!$value$plusargs("steps=%d", steps)) failed = 1;
        full = $test$plusargs("full");
        pressure = $test$plusargs("pressure");
        if (stimulus_file == 0 || writes_file == 0 || record_file == 0) failed = 1;
        if ($value$plusargs("waves=%s", path)) begin
            $dumpfile(path);
            $dumpvars(0, detection_replay);
        end
        fetch_write;
    end

    always @(posedge clk) begin
        noise <= {noise[14:0], noise[15] ^ noise[13] ^ noise[12] ^ noise[10]};
        frame <= 0;
        cycles <= cycles + 1;
        if (events_valid && !events_ready) begin
            stalled <= stalled + 1;
            delayed <= 1;
        end
        case (phase)
            RESET: begin
                reset_cycles <= reset_cycles + 1;
                if (reset_cycles == 3) rst <= 0;
                if (!rst && !busy) phase <= NEXT;
            end
            NEXT:
                if (due) begin
                    access_valid <= 1;
                    access_payload <= {
                        pending[WORD_BITS-1:0], 1'b1, pending[72+ROW_BITS-1:72],
                        pending[80+ELECTRODE_BITS-1:80]
                    };
                    phase <= WRITE;
                end else if (step == steps) begin
                    $fclose(record_file);
                    phase <= DONE;
                end else begin
                    frame <= 1;
                    samples_valid <= 1;
                    electrode <= 0;
                    committed <= 0;
                    fetch_sample;
                    first <= 1;
                    delayed <= 0;
                    phase <= SAMPLE;
                end
            WRITE:
                if (access_ready) begin
                    access_valid <= 0;
                    fetch_write;
                    phase <= NEXT;
                end
            SAMPLE:
                if (samples_ready) begin
                    if (electrode == 0) begin
                        cycles <= 1;
                        stalled <= 0;
                    end
                    if (electrode == ELECTRODES - 1) begin
                        samples_valid <= 0;
                        phase <= DRAIN;
                    end else begin
                        electrode <= electrode + 1;
                        fetch_sample;
                    end
                end
            DRAIN:
                if (committed == ELECTRODES) begin
                    if (busy) late <= 1;
                    step <= step + 1;
                    phase <= NEXT;
                end
            default: done <= 1;
        endcase
        if (commit_valid) begin
            if (full) $fwrite(record_file, "%u", {threshold, variability, mean, filtered, summary});
            else $fwrite(record_file, "%u", summary);
            committed <= committed + 1;
            if (!delayed && cycles != (first ? LATENCY : INTERVAL)) late <= 1;
            if (cycles - stalled > (first ? LATENCY : INTERVAL)) late <= 1;
            first <= 0;
            cycles <= 1;
            stalled <= 0;
        end
        if (rejected) failed <= 1;
    end
endmodule
