// Output whose every write is looked at: a program that cannot write all of it ends with NOT_WRITTEN. A record
// that breaks off where the disk was full would otherwise look like a short run.
#include <cstdio>
#include <cstdlib>
#include <string>

static const int NOT_WRITTEN = 6;

static inline FILE *open_log(const std::string &folder, const char *name) {
    FILE *file = fopen((folder + "/" + name + ".bin").c_str(), "wb");
    if (!file) exit(NOT_WRITTEN);
    return file;
}

static inline void write_all(FILE *file, const void *data, size_t size, size_t count) {
    if (fwrite(data, size, count, file) != count) exit(NOT_WRITTEN);
}

template <typename T> static inline void put(FILE *file, T value) { write_all(file, &value, sizeof value, 1); }

static inline void flush(FILE *file) {
    if (fflush(file)) exit(NOT_WRITTEN);
}

static inline void close_log(FILE *file) {
    if (fclose(file)) exit(NOT_WRITTEN);
}
