// Replays recorded events through the microcircuit core in CXXRTL; files and options as in replay.sv.
#include CORE

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

static const char *option(int argc, char **argv, const char *name) {
    for (int i = 1; i < argc; i++)
        if (argv[i][0] == '+' && !strncmp(argv[i] + 1, name, strlen(name))) return argv[i] + 1 + strlen(name);
    return nullptr;
}

struct Record {
    uint32_t step;
    unsigned channel, parameter, kind;
    uint64_t word;
};

static bool fetch(FILE *file, Record &record) {
    uint8_t b[16];
    if (fread(b, 1, 16, file) != 16) return false;
    record.step = (uint32_t)b[0] << 24 | b[1] << 16 | b[2] << 8 | b[3];
    record.channel = b[4] << 8 | b[5];
    record.parameter = b[6];
    record.kind = b[7];
    record.word = 0;
    for (int i = 8; i < 16; i++) record.word = record.word << 8 | b[i];
    return true;
}

int main(int argc, char **argv) {
    FILE *stimulus = fopen(option(argc, argv, "stimulus="), "rb");
    FILE *recorded = fopen(option(argc, argv, "record="), "wb");
    FILE *recalibrations = fopen(option(argc, argv, "recalibrations="), "wb");
    const char *given = option(argc, argv, "steps=");
    if (!stimulus || !recorded || !recalibrations || !given) return 1;
    const uint32_t steps = strtoul(given, nullptr, 10);
    const bool full = option(argc, argv, "full");
    const char *limit = option(argc, argv, "cycles=");
    uint64_t cycles_left = limit ? strtoull(limit, nullptr, 10) : ~(uint64_t)0;

    cxxrtl_design::p_microcircuit top;
    bool committed = false;
    unsigned committed_channel = 0;
    uint32_t step = 0;
    bool late = false;
    // Let the inputs settle, note what the coming edge will see, and make the edge.
    auto cycle = [&](const auto &ready) {
        if (!cycles_left--) exit(3);
        top.p_clk.template set<bool>(false);
        top.step();
        const bool taken = ready.template get<bool>();
        committed = top.p_commit____valid.template get<bool>();
        if (committed) {
            committed_channel = top.p_commit____channel.template get<unsigned>();
            const bool response =
                top.p_responses____valid.template get<bool>() &&
                top.p_responses____payload.template get<unsigned>() == (2u << CHANNEL_BITS | committed_channel);
            uint64_t words[3];
            words[0] = top.p_commit____weight.template get<uint64_t>() << 16 | (uint64_t)response << 7 |
                       top.p_commit____inhibition.template get<uint64_t>() << 6 |
                       top.p_commit____cr.template get<uint64_t>() << 5 |
                       top.p_commit____below.template get<uint64_t>() << 4 |
                       top.p_commit____gated__io.template get<uint64_t>() << 3 |
                       top.p_commit____delayed__inhibition.template get<uint64_t>() << 2 |
                       top.p_commit____plasticity__trace.template get<uint64_t>() << 1 |
                       top.p_commit____active.template get<uint64_t>();
            words[1] = top.p_commit____trace.template get<uint64_t>() << 16 |
                       top.p_commit____age.template get<uint64_t>();
            words[2] = top.p_commit____scaled.template get<uint64_t>();
            fwrite(words, 8, full ? 3 : 1, recorded);
        }
        if (top.p_recalibrated____valid.template get<bool>()) {
            const uint64_t words[4] = {
                top.p_recalibrated____status.template get<uint64_t>() << 48 |
                    top.p_recalibrated____channel.template get<uint64_t>() << 32 | (step + 1),
                top.p_recalibrated____rate.template get<uint64_t>(),
                top.p_recalibrated____potentiation.template get<uint64_t>(),
                top.p_recalibrated____depression.template get<uint64_t>(),
            };
            fwrite(words, 8, 4, recalibrations);
        }
        top.p_clk.template set<bool>(true);
        top.step();
        return taken;
    };

    top.p_responses____ready.set<bool>(true);
    top.p_readback____ready.set<bool>(true);
    top.p_rst.set<bool>(true);
    for (int i = 0; i < 4; i++) cycle(top.p_busy);
    top.p_rst.set<bool>(false);

    Record record;
    bool pending = fetch(stimulus, record);
    for (; step < steps; step++) {
        for (; pending && record.step == step; pending = fetch(stimulus, record)) {
            if (record.kind == 255) {
                const uint64_t high = record.parameter | 1u << PARAMETER_BITS;
                const int low_bits = CHANNEL_BITS + PARAMETER_BITS + 1;
                value<WORD_BITS + low_bits> payload;
                const uint64_t word = record.word & (~(uint64_t)0 >> (64 - WORD_BITS));
                for (int bit = 0; bit < WORD_BITS + low_bits; bit++) {
                    const uint64_t set = bit < CHANNEL_BITS ? record.channel >> bit
                                         : bit < low_bits   ? high >> (bit - CHANNEL_BITS)
                                                            : word >> (bit - low_bits);
                    payload.data[bit / 32] |= (uint32_t)(set & 1) << bit % 32;
                }
                top.p_access____payload = payload;
                top.p_access____valid.set<bool>(true);
                while (!cycle(top.p_access____ready)) {}
                top.p_access____valid.set<bool>(false);
            } else {
                top.p_events____payload.set<unsigned>(record.kind << CHANNEL_BITS | record.channel);
                top.p_events____valid.set<bool>(true);
                while (!cycle(top.p_events____ready)) {}
                top.p_events____valid.set<bool>(false);
            }
        }
        top.p_tick.set<bool>(true);
        cycle(top.p_busy);
        top.p_tick.set<bool>(false);
        int cycles = 0;
        do cycle(top.p_busy), cycles++;
        while (!committed || committed_channel != CHANNELS - 1);
        // As in replay.sv: the first step waits for the initialisation.
        if (step && cycles != STEP_CYCLES) late = true;
    }
    fclose(recorded);
    fclose(recalibrations);
    if (late) return 4;
    return top.p_overrun.get<bool>() || top.p_rejected.get<bool>() ? 2 : 0;
}
