// Runs the chip with its link, frame by frame, as it is told on standard input; simulated_board.py is the other
// end. Everything is in the machine's own byte order.
//
//   in:   frames[32] control[32] bytes[32], then for each frame the codes of all electrodes, 16 bits each, then the
//         bytes from the host; control: 1 emergency stop, 2 amplifier chips unplugged, 4 until frames begin: without
//         codes, as many cycles as the frames have, or fewer
//   out:  frames[32] that have been run, and for each the clock cycles with the cathodic and with the anodic output on,
//         16 bits each; cycles[64] so far; flags[32]: 1 train, 2 running, 4 armed, 8 fault; left[32], the bytes that the
//         link has not got yet; bytes[32] and the bytes to the host; registers of each amplifier chip, 18 bytes each
//
// A byte takes BYTE_CYCLES on its way, in either direction. Nothing is sent in the first RESET_CYCLES.
#include "Vboard_bench.h"
#include "checked.h"
#include "verilated.h"

#include <cstdint>
#include <cstdio>
#include <vector>

static const int MOST_BEGUN = 8;  // front ends that come up and fail at once, in what should be a frame

int main() {
    VerilatedContext context;
    Vboard_bench top(&context);
    uint64_t cycle = 0, next_rx = 0, next_tx = 0;
    bool ran = false;
    std::vector<uint8_t> from_host, to_host;
    size_t given = 0;

    auto run_cycle = [&] {
        top.rx_valid = given < from_host.size() && cycle >= next_rx;
        if (top.rx_valid) {
            top.rx = from_host[given++];
            next_rx = cycle + BYTE_CYCLES;
        }
        top.tx_ready = cycle >= next_tx;
        top.eval();
        if (top.tx_valid && top.tx_ready) {
            to_host.push_back(top.tx);
            next_tx = cycle + BYTE_CYCLES;
        }
        top.clk = 1;
        top.eval();
        top.clk = 0;
        top.eval();
        cycle++;
    };

    top.present = 1;
    top.rst = 1;
    top.clk = 0;
    top.eval();
    for (int i = 0; i < RESET_CYCLES; i++) run_cycle();
    top.rst = 0;
    top.eval();
    cycle = 0;

    uint32_t request[3];
    std::vector<uint16_t> codes, on;
    while (fread(request, sizeof request, 1, stdin) == 1) {
        const uint32_t frames = request[0], control = request[1];
        const bool waits = control >> 2 & 1;
        codes.assign(waits ? 0 : frames * CHIPS * CHANNELS, 0);
        if (fread(codes.data(), 2, codes.size(), stdin) != codes.size()) return 1;
        from_host.erase(from_host.begin(), from_host.begin() + given);
        given = 0;
        const size_t before = from_host.size();
        from_host.resize(before + request[2]);
        if (fread(from_host.data() + before, 1, request[2], stdin) != request[2]) return 1;
        top.emergency_stop = control & 1;
        top.present = !(control >> 1 & 1);
        on.clear();
        to_host.clear();
        top.eval();
        for (uint32_t n = 0; n < frames && !(waits && top.frame); n++) {
            auto *words = (uint16_t *)&top.codes;
            for (size_t e = 0; e < (waits ? 0 : CHIPS * CHANNELS); e++)
                words[e / CHANNELS * 32 + e % CHANNELS] = codes[n * CHIPS * CHANNELS + e];
            top.eval();
            uint16_t cathodic = 0, anodic = 0;
            int begun = 0;
            for (int c = 0; c < FRAME_CYCLES; c++) {
                if (top.frame && !ran) {
                    if (waits) break;
                    if (++begun > MOST_BEGUN) return 2;
                    c = 0;
                }
                ran = top.running;
                cathodic += top.cathodic;
                anodic += top.anodic;
                run_cycle();
            }
            on.push_back(cathodic);
            on.push_back(anodic);
        }
        put<uint32_t>(stdout, on.size() / 2);
        write_all(stdout, on.data(), 2, on.size());
        put(stdout, cycle);
        put<uint32_t>(stdout, (uint32_t)top.train | (uint32_t)top.running << 1 | (uint32_t)top.armed << 2 | (uint32_t)top.fault << 3);
        put<uint32_t>(stdout, from_host.size() - given);
        put<uint32_t>(stdout, to_host.size());
        write_all(stdout, to_host.data(), 1, to_host.size());
        write_all(stdout, &top.registers, 18, CHIPS);
        flush(stdout);
    }
    return 0;
}
