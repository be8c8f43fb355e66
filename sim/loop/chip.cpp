// Runs the chip with its amplifier chips, frame by frame, as it is told on standard input; chip.py is the other
// end. Everything is in the machine's own byte order.
//
//   first, out: flags[32] as below; then, if the front end runs, the registers of each amplifier chip, 18 bytes each
//   in:   frames[32] control[32], then for each frame the codes of all electrodes, 16 bits each;
//         control: 1 arm, 2 heartbeat in every frame, 4 emergency stop, 8 amplifier chips unplugged,
//         16 front end disabled; a frame after it has come up again begins with it
//   out:  for each frame the clock cycles with the cathodic and with the anodic output on, 16 bits each; then flags[32]:
//         1 train, 2 running, 4 armed, 8 lost a step or misplaced a frame, amplifier fault << 8, stimulation fault << 16
//
// Arguments: a folder for the logs, and the clock cycles that set-up may take.
//   edges            cycle[64] signal[32] level[32]; signal: 0 cathodic, 1 anodic, 2 enable; cycle 0 is the first of frame 0
//   detections       frame[32] electrode[32]
//   blanked          frame[32]
//   delivered        step[32] channel[16] kind[16]
//   commits          weight[64] step[32] channel[16] cr[16]
//   recalibrations   as in replay.sv
#include "Vchip_bench.h"
#include "checked.h"
#include "verilated.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

int main(int argc, char **argv) {
    if (argc != 3) return 1;
    FILE *edges = open_log(argv[1], "edges"), *detections = open_log(argv[1], "detections");
    FILE *blanked = open_log(argv[1], "blanked"), *delivered = open_log(argv[1], "delivered"), *commits = open_log(argv[1], "commits");
    FILE *recalibrations = open_log(argv[1], "recalibrations");

    VerilatedContext context;
    Vchip_bench top(&context);
    uint32_t frame = 0, step = 0, ticks = 0, sampled = 0;
    uint64_t cycle = 0;
    bool levels[3] = {false, false, false}, wrong = false, ran = true;

    auto rising = [&] {
        top.clk = 1;
        top.eval();
        top.clk = 0;
        top.eval();
    };

    auto put_flags = [&] {
        put<uint32_t>(stdout, (uint32_t)top.train | (uint32_t)top.running << 1 | (uint32_t)top.armed << 2 |
                                  (uint32_t)wrong << 3 | (uint32_t)top.amplifier_fault << 8 |
                                  (uint32_t)top.stimulation_fault << 16);
    };

    auto log_events = [&] {
        if (top.overrun || top.rejected) wrong = true;
        if (top.first_sample) sampled++;
        if (top.detected && top.event_valid) {
            put<uint32_t>(detections, sampled - 1);
            put<uint32_t>(detections, top.detected_electrode);
        }
        if (top.delivered) {
            put(delivered, ticks);
            put<uint16_t>(delivered, top.delivered_channel);
            put<uint16_t>(delivered, top.delivered_kind);
        }
        if (top.tick) ticks++;  // what comes in its own cycle is the old step's
        if (top.recalibrated) {
            put<uint32_t>(recalibrations, step + 1);
            put<uint16_t>(recalibrations, top.recalibrated_channel);
            put<uint16_t>(recalibrations, top.recalibrated_status);
            put<uint64_t>(recalibrations, top.rate);
            put<uint64_t>(recalibrations, top.potentiation);
            put<uint64_t>(recalibrations, top.depression);
        }
        if (!top.commit) return;
        put<uint64_t>(commits, top.weight);
        put(commits, step);
        put<uint16_t>(commits, top.commit_channel);
        put<uint16_t>(commits, top.cr);
        if (top.commit_channel == CIRCUITS - 1) step++;
    };

    top.present = 1;
    top.rst = 1;
    top.clk = 0;
    top.eval();
    for (int i = 0; i < 4; i++) rising();
    top.rst = 0;
    top.enable = 1;
    top.eval();
    uint64_t left = strtoull(argv[2], nullptr, 10);
    while (!top.frame && !top.amplifier_fault && left--) rising();
    put_flags();
    if (!top.frame) {
        flush(stdout);
        return 0;
    }
    write_all(stdout, &top.registers, 18, CHIPS);
    flush(stdout);

    uint32_t request[2];
    std::vector<uint16_t> codes;
    std::vector<uint16_t> on;
    while (fread(request, sizeof request, 1, stdin) == 1) {
        const uint32_t frames = request[0], control = request[1];
        codes.resize(frames * CHIPS * CHANNELS);
        on.assign(frames * 2, 0);
        if (fread(codes.data(), 2, codes.size(), stdin) != codes.size()) return 1;
        top.emergency_stop = control >> 2 & 1;
        top.present = !(control >> 3 & 1);
        top.enable = !(control >> 4 & 1);
        for (uint32_t n = 0; n < frames; n++, frame++) {
            auto *words = (uint16_t *)&top.codes;
            for (int e = 0; e < CHIPS * CHANNELS; e++)
                words[e / CHANNELS * 32 + e % CHANNELS] = codes[n * CHIPS * CHANNELS + e];
            top.eval();
            top.heartbeat = control >> 1 & 1;
            top.arm = n == 0 && (control & 1);
            top.eval();
            for (int c = 0; c < FRAME_CYCLES; c++, cycle++) {
                if (top.frame && !ran) c = 0;
                ran = top.running;
                if (ran && (bool)top.frame != (c == 0)) wrong = true;
                const bool now[3] = {(bool)top.cathodic, (bool)top.anodic, (bool)top.stimulate};
                for (uint32_t signal = 0; signal < 3; signal++) {
                    if (signal < 2) on[n * 2 + signal] += now[signal];
                    if (now[signal] != levels[signal]) {
                        put(edges, cycle);
                        put(edges, signal);
                        put<uint32_t>(edges, now[signal]);
                        levels[signal] = now[signal];
                    }
                }
                log_events();
                if (top.first_sample && top.blanked) put(blanked, frame);
                rising();
                if (c == 0) {
                    top.heartbeat = 0;
                    top.arm = 0;
                    top.eval();
                }
            }
        }
        write_all(stdout, on.data(), 2, on.size());
        put_flags();
        flush(stdout);
    }
    // The last step may end after its last frame.
    for (int c = 0; top.running && step < frame / FRAMES_PER_STEP; c++) {
        if (c == 2 * FRAME_CYCLES) return 3;
        log_events();
        rising();
    }
    for (FILE *file : {edges, detections, blanked, delivered, commits, recalibrations}) close_log(file);
    return 0;
}
