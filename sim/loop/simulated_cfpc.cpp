// Runs the CFPC filter with its link as it is told on standard input; simulated_cfpc.py is the other end.
// Everything is in the machine's own byte order.
//
//   in:   cycles[32] at most, bytes[32], and the bytes from the host
//   out:  cycles[64] so far; flags[32]: 1 learning, 2 saturated; bytes[32] and the bytes to the host
//
// It stops once the filter has been silent for QUIET bytes after something was sent. A byte takes BYTE_CYCLES on
// its way, in either direction.
#include "Vcfpc_bench.h"
#include "checked.h"
#include "verilated.h"

#include <cstdint>
#include <cstdio>
#include <vector>

static const int QUIET = 4;

int main() {
    VerilatedContext context;
    Vcfpc_bench top(&context);
    uint64_t cycle = 0, next_rx = 0, next_tx = 0;
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

    top.rst = 1;
    top.clk = 0;
    top.eval();
    for (int i = 0; i < 4; i++) run_cycle();
    top.rst = 0;
    cycle = 0;

    uint32_t request[2];
    while (fread(request, sizeof request, 1, stdin) == 1) {
        from_host.erase(from_host.begin(), from_host.begin() + given);
        given = 0;
        const size_t before = from_host.size();
        from_host.resize(before + request[1]);
        if (fread(from_host.data() + before, 1, request[1], stdin) != request[1]) return 1;
        to_host.clear();
        const uint64_t end = cycle + request[0];
        while (cycle < end && (to_host.empty() || cycle < next_tx + QUIET * BYTE_CYCLES)) run_cycle();
        put(stdout, cycle);
        put<uint32_t>(stdout, (uint32_t)top.learning | (uint32_t)top.saturated << 1);
        put<uint32_t>(stdout, to_host.size());
        write_all(stdout, to_host.data(), 1, to_host.size());
        flush(stdout);
    }
    return 0;
}
