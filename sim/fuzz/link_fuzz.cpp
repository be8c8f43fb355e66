// Feeds the link with whatever bytes a file has, plays the registers behind it, and logs all that it does;
// link_fuzz.py makes the file and judges the logs. Everything is in the machine's own byte order.
//
// Arguments: the file, a folder for the logs, a seed, and 1 to wait for each reply before the next byte.
//   file   16 bits each: a byte, or 0x100 for an error of the line; 0x200 beside it to wait for each reply so far
//   frames at[32] good[32]: frames accepted and dropped, by the number of file entries before the flag that ends them
//   bus    write[32] address[32] word[32] status[32]
//   sent   at[32] byte[32]: what left, and how many entries had been taken by then
//   pushed record[64], each one put into the queue; last of all the number lost
// Status: 1 a file cannot be read, 6 one cannot be written, 3 the link hangs, 4 it breaks a rule of streams or of the bus.
#include "Vlink_fuzz.h"
#include "checked.h"
#include "verilated.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

static const uint64_t HANGS = 50000;  // cycles without an entry taken
static const uint32_t LINE_ERROR = 0x100, WAIT = 0x200;

int main(int argc, char **argv) {
    if (argc != 5) return 1;
    FILE *file = fopen(argv[1], "rb");
    if (!file) return 1;
    std::vector<uint16_t> entries;
    for (uint16_t entry; fread(&entry, sizeof entry, 1, file) == 1;) entries.push_back(entry);
    FILE *frames = open_log(argv[2], "frames"), *bus = open_log(argv[2], "bus");
    FILE *sent = open_log(argv[2], "sent"), *pushed = open_log(argv[2], "pushed");
    std::mt19937 random(strtoul(argv[3], nullptr, 10));
    const bool waits = argv[4][0] == '1';

    VerilatedContext context;
    Vlink_fuzz top(&context);
    uint32_t registers[64] = {};
    size_t at = 0;
    uint64_t idle = 0, settled = 0;
    uint32_t outstanding = 0, latency = 0, stall = 0, burst = 0, in_reply = 0;
    int previous = -1, offered = -1;
    int64_t asked = -1;
    bool inside = false;
    uint32_t within = 0;

    auto cycle = [&] {
        top.clk = 1;
        top.eval();
        top.clk = 0;
        top.eval();
    };
    top.rst = 1;
    top.clk = 0;
    top.eval();
    for (int i = 0; i < 4; i++) cycle();
    top.rst = 0;

    while (settled < 4000) {
        // From the host.
        top.rx_valid = top.rx_error = 0;
        const bool may = at < entries.size() && !((waits || entries[at] & WAIT) && outstanding) && random() % 4 != 0;
        if (may) {
            top.rx = entries[at];
            (entries[at] & LINE_ERROR ? top.rx_error : top.rx_valid) = 1;
        }
        // To the host: now and then not for a long time.
        if (stall) stall--;
        else if (random() % 4096 == 0) stall = random() % 512;
        top.tx_ready = !stall && random() % 4 != 0;
        // Records: few, and now and then so many that the queue is full.
        if (burst) burst--;
        else if (random() % 16384 == 0) burst = random() % 64;
        top.record_valid = at < entries.size() && (random() % 2048 == 0 || (burst && random() % 2));
        if (top.record_valid) {
            const uint64_t kind = 1 + random() % 7, word = random(), rest = random() & 0x3FFFFFF;
            top.record = kind | rest << 4 | word << 30;
            put<uint64_t>(pushed, top.record);
        }
        // The registers, as Registers of link_model.py.
        top.bus_ready = 0;
        top.eval();
        const int64_t now = top.bus_valid ? (int64_t)top.bus_write << 48 | (int64_t)top.bus_address << 32 | (top.bus_write ? top.bus_write_data : 0) : -1;
        if (asked >= 0 && now != asked) return 4;
        asked = now;
        if (top.bus_valid && latency) latency--;
        else if (top.bus_valid) {
            const uint32_t address = top.bus_address;
            uint32_t word = 0xDEADBEEF, status = 3;
            if (address < 0x100 && address % 4 == 0) {
                if (top.bus_write) registers[address / 4] = top.bus_write_data;
                word = registers[address / 4];
                status = 0;
            } else if (address >= 0x100 && address < 0x140 && !top.bus_write) {
                word = address * 0x7D7E0101u;
                status = 0;
            } else if (address == 0xFFFC) {
                word = 0x7E7E7D7D;
                status = top.bus_write ? 4 : 0;
            }
            top.bus_ready = 1;
            top.bus_read_data = word;
            top.bus_status = status;
            top.eval();
            for (uint32_t value : {(uint32_t)top.bus_write, address, top.bus_write ? (uint32_t)top.bus_write_data : word, status})
                put(bus, value);
            latency = random() % 8 ? random() % 3 : random() % 60;
            asked = -1;
        }
        if (top.good || top.bad) {
            put<uint32_t>(frames, at);
            put<uint32_t>(frames, top.good);
            outstanding += top.good;
        }
        if (offered >= 0 && (!top.tx_valid || top.tx != offered)) return 4;
        offered = top.tx_valid && !top.tx_ready ? top.tx : -1;
        settled = at < entries.size() || top.tx_valid || top.bus_valid ? 0 : settled + 1;
        if (top.tx_valid && top.tx_ready) {
            put<uint32_t>(sent, at + may);
            put<uint32_t>(sent, top.tx);
            // A reply has bit 7 of its second byte set; with escapes taken into account.
            if (top.tx == 0x7E) {
                if (inside && within && in_reply) outstanding--;
                inside = !(inside && within);
                within = in_reply = 0;
            } else if (top.tx != 0x7D) {
                const uint8_t octet = top.tx ^ (previous == 0x7D ? 0x20 : 0);
                if (++within == 2) in_reply = octet >> 7;
            }
            previous = top.tx;
        }
        at += may;
        idle = may ? 0 : idle + 1;
        if (idle > HANGS) return 3;
        cycle();
    }
    put<uint64_t>(pushed, top.lost);
    close_log(frames);
    close_log(bus);
    close_log(sent);
    close_log(pushed);
    return outstanding ? 3 : 0;
}
