// Replays recorded events through the microcircuit core, compiled by Verilator or CXXRTL: replay.sv as a program.
//
// It does what replay.sv does, in the same clock cycles, with the same files and options; the record goes to
// standard output. How it ends is its exit status, for replay.py:
enum Status {
    GOOD = 0,
    NO_FILES = 1,       // a file or an option is missing
    LOST_TICK = 2,
    HANGS = 3,          // the core takes more than +cycles
    OTHER_CYCLES = 4,   // a step takes more or fewer than STEP_CYCLES
    REJECTED = 5,       // an event or a write
    NOT_READ = 7,       // there are other than +entries in the stimulus
};

#include "checked.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

// The two simulators differ in how a port is spelt, and in how signals are made to settle.
#ifdef CXXRTL_MODEL
#include CXXRTL_MODEL
static cxxrtl_design::p_replay__core core;
#define SET(port, number) core.p_##port.set<uint64_t>(number)
#define GET(port) core.p_##port.get<uint64_t>()
static void settle() { core.step(); }
#else
#include "Vreplay_core.h"
#include "verilated.h"
static VerilatedContext context;
static Vreplay_core core(&context);
#define SET(port, number) core.port = (number)
#define GET(port) core.port
static void settle() { core.eval(); }
#endif

static const char *option(int argc, char **argv, const char *name) {
    for (int i = 1; i < argc; i++)
        if (argv[i][0] == '+' && !strncmp(argv[i] + 1, name, strlen(name))) return argv[i] + 1 + strlen(name);
    return nullptr;
}

static uint64_t number(int argc, char **argv, const char *name) {
    const char *given = option(argc, argv, name);
    if (!given) exit(NO_FILES);
    return strtoull(given, nullptr, 10);
}

// A file of 64-bit words. All files together have one sum of their words.
class Words {
  public:
    static uint64_t sum;

    explicit Words(FILE *file) : file(file) {}

    void put(uint64_t word) {
        sum += word;
        buffer[held++] = word;
        if (held == SIZE) flush();
    }

    void close() {
        flush();
        close_log(file);
    }

  private:
    static const size_t SIZE = 1 << 13;
    FILE *file;
    size_t held = 0;
    uint64_t buffer[SIZE];

    void flush() {
        write_all(file, buffer, sizeof *buffer, held);
        held = 0;
    }
};

uint64_t Words::sum = 0;

struct Entry {
    uint32_t step;
    unsigned channel, parameter, kind;
    uint64_t word;
};

static bool fetch(FILE *file, Entry &entry) {
    uint8_t b[16];
    if (fread(b, 1, 16, file) != 16) return false;
    entry.step = (uint32_t)b[0] << 24 | b[1] << 16 | b[2] << 8 | b[3];
    entry.channel = b[4] << 8 | b[5];
    entry.parameter = b[6];
    entry.kind = b[7];
    entry.word = 0;
    for (int i = 8; i < 16; i++) entry.word = entry.word << 8 | b[i];
    return true;
}

int main(int argc, char **argv) {
    const char *from = option(argc, argv, "stimulus="), *to = option(argc, argv, "recalibrations=");
    FILE *stimulus = from ? fopen(from, "rb") : nullptr, *second = to ? fopen(to, "wb") : nullptr;
    if (!stimulus || !second) return NO_FILES;
    static Words record(stdout), recalibrations(second);
    const uint64_t steps = number(argc, argv, "steps="), entries = number(argc, argv, "entries=");
    const bool full = option(argc, argv, "full");
    uint64_t cycles_left = number(argc, argv, "cycles=");

    uint64_t step = 0, commits = 0, rounds = 0, done = 0;
    bool step_ends = false, late = false, taken = false, written = false;
    // Let the inputs settle, note what the coming edge will see, and make the edge.
    auto cycle = [&] {
        if (!cycles_left--) exit(HANGS);
        SET(clk, 0);
        settle();
        taken = GET(taken);
        written = GET(written);
        const bool committed = GET(committed);
        step_ends = committed && GET(last);
        if (committed) {
            record.put(GET(low));
            if (full) {
                record.put(GET(middle));
                record.put(GET(high));
            }
            commits++;
        }
        if (GET(recalibrated)) {
            recalibrations.put(GET(head) | (step + 1));
            recalibrations.put(GET(rate));
            recalibrations.put(GET(potentiation));
            recalibrations.put(GET(depression));
            rounds++;
        }
        SET(clk, 1);
        settle();
    };

    SET(rst, 1);
    for (int i = 0; i < 4; i++) cycle();
    SET(rst, 0);

    Entry entry;
    bool pending = fetch(stimulus, entry);
    for (; step < steps; step++) {
        for (; pending && entry.step == step; pending = fetch(stimulus, entry), done++) {
            SET(channel, entry.channel);
            if (entry.kind == 255) {
                SET(number, entry.parameter);
                SET(word, entry.word);
                SET(writing, 1);
                do cycle();
                while (!written);
                SET(writing, 0);
            } else {
                SET(kind, entry.kind);
                SET(sending, 1);
                do cycle();
                while (!taken);
                SET(sending, 0);
            }
        }
        SET(tick, 1);
        cycle();
        SET(tick, 0);
        int cycles = 0;
        do cycle(), cycles++;
        while (!step_ends);
        // The first step waits for the initialisation.
        if (step && cycles != STEP_CYCLES) late = true;
    }

    recalibrations.close();
    const uint64_t sum = Words::sum;
    for (uint64_t word : {(uint64_t)END_MARK, commits, rounds, sum}) record.put(word);
    record.close();
    if (done != entries) return NOT_READ;
    if (GET(overrun)) return LOST_TICK;
    if (GET(rejected)) return REJECTED;
    return late ? OTHER_CYCLES : GOOD;
}
