// Runs the adaptive filter as it is told on standard input; cfpc_loop.py is the other end. Every number is of 32 bits,
// with sign, in the machine's own byte order.
//
//   0 STEP frozen error, INPUTS bases      answer: o
//   1 RECORD                               answer: number of steps since the last time, and for each the traces of all
//                                          SYNAPSES, then their weights
//   2 READ                                 answer: SYNAPSES weights, by the access port
//   3 WRITE, SYNAPSES weights              answer: SYNAPSES
//
// Ends with status 1 where the input ends within a request, 2 where an access was rejected, 3 where the filter hangs, 4
// where a step takes other than CYCLES_PER_STEP and STEP_CYCLES.
#include "Vcfpc_loop.h"
#include "checked.h"
#include "verilated.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

using Words = std::vector<int32_t>;

static int32_t with_sign(uint64_t word, int width) {
    return (int32_t)((int64_t)(word << (64 - width)) >> (64 - width));
}
static uint32_t without_sign(int32_t word, int width) { return (uint32_t)word & (0xffffffffu >> (32 - width)); }

static void take(int32_t *words, size_t count) {
    if (fread(words, sizeof *words, count, stdin) != count) exit(1);
}
static void give(const Words &words) { write_all(stdout, words.data(), sizeof words[0], words.size()); }

int main() {
    VerilatedContext context;
    Vcfpc_loop top(&context);
    uint64_t cycle = 0;
    Words now(2 * SYNAPSES), record;
    int32_t steps = 0;

    // Half a cycle: outputs are those of the inputs that have been set.
    auto settle = [&] { top.clk = 0; top.eval(); };
    auto pass = [&] {
        if (top.commit_valid) {
            now[top.commit_synapse] = with_sign(top.commit_trace, SIGNAL);
            now[SYNAPSES + top.commit_synapse] = with_sign(top.commit_weight, WEIGHT);
        }
        top.clk = 1;
        top.eval();
        cycle++;
    };
    auto wait_for = [&](const CData &ready) {
        const uint64_t begin = cycle;
        for (settle(); !ready; settle()) {
            pass();
            if (cycle - begin > INITIALISE_CYCLES + 2 * STEP_CYCLES) exit(3);
        }
    };
    auto access = [&](int synapse, bool write, int32_t word) {
        top.access_valid = 1;
        top.access_write = write;
        top.access_synapse = synapse;
        top.access_word = without_sign(word, WEIGHT);
        wait_for(top.access_ready);
        pass();
        top.access_valid = 0;
        if (top.rejected) exit(2);
    };

    top.rst = 1;
    for (int i = 0; i < 4; i++) settle(), pass();
    top.rst = 0;

    int32_t kind;
    Words request, answer;
    while (fread(&kind, sizeof kind, 1, stdin) == 1) {
        answer.clear();
        if (kind == 0) {
            request.resize(2 + INPUTS);
            take(request.data(), request.size());
            top.freeze = request[0] != 0;
            top.error = without_sign(request[1], SIGNAL);
            top.outputs_ready = 0;
            uint64_t first = 0, last = 0;
            for (int k = 0; k < INPUTS; k++) {
                top.samples_valid = 1;
                top.basis = without_sign(request[2 + k], SIGNAL);
                wait_for(top.samples_ready);
                last = cycle;
                if (!k) first = cycle;
                pass();
                top.samples_valid = 0;
            }
            wait_for(top.outputs_valid);
            if (cycle - last != CYCLES_PER_STEP) exit(4);
            answer.push_back(with_sign(top.outputs, SIGNAL));
            top.outputs_ready = 1;
            pass();
            wait_for(top.samples_ready);
            if (cycle - first != STEP_CYCLES) exit(4);
            if (RECORDS) record.insert(record.end(), now.begin(), now.end());
            steps++;
        } else if (kind == 1) {
            answer.push_back(steps);
            answer.insert(answer.end(), record.begin(), record.end());
            record.clear();
            steps = 0;
        } else if (kind == 2) {
            for (int j = 0; j < SYNAPSES; j++) {
                access(j, false, 0);
                top.readback_ready = 1;
                wait_for(top.readback_valid);
                answer.push_back(with_sign(top.readback, WEIGHT));
                pass();
                top.readback_ready = 0;
            }
        } else {
            request.resize(SYNAPSES);
            take(request.data(), request.size());
            for (int j = 0; j < SYNAPSES; j++) access(j, true, request[j]);
            answer.push_back(SYNAPSES);
        }
        give(answer);
        flush(stdout);
    }
    return 0;
}
