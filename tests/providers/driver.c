/* A stand-in for NVIDIA's driver (libcuda.so.1): what it is asked, it answers as the GPUs would that are listed in
   /etc/stand-in-gpus (or where STAND_IN_GPUS says), a line each: NAME|BYTES|TERAFLOPS|GIGABYTES A SECOND|CUDA|FAULT. It keeps time by sleeping.
   FAULT: none, miscounts, forgets, shared (half of the memory is somebody else's), or absent (nothing works). */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MOST 16
#define LARGE (64UL << 20)
#define PROCESSORS 64

struct gpu { char name[128]; size_t bytes; double tera, giga; int cuda; char fault[32]; };
static struct gpu gpus[MOST];
static int count, current;
static size_t taken;
static double owed; /* seconds of work that was asked for */
static struct { uint64_t at; size_t size; unsigned word; } chunks[4096];
static int chunk_count;

int cuInit(unsigned flags) {
    const char *list = getenv("STAND_IN_GPUS");
    FILE *file = fopen(list ? list : "/etc/stand-in-gpus", "r");
    char line[512];
    count = 0;
    while (file && count < MOST && fgets(line, sizeof line, file)) {
        struct gpu *gpu = &gpus[count];
        double bytes, cuda;
        if (sscanf(line, "%127[^|]|%lf|%lf|%lf|%lf|%31s", gpu->name, &bytes, &gpu->tera, &gpu->giga, &cuda, gpu->fault) == 6) {
            gpu->bytes = (size_t)bytes;
            int tenths = (int)(cuda * 10 + 0.5);
            gpu->cuda = tenths / 10 * 1000 + tenths % 10 * 10;
            count++;
        }
    }
    if (file) fclose(file);
    return count && strcmp(gpus[0].fault, "absent") ? 0 : 100;
}

int cuGetErrorName(int status, const char **name) {
    *name = status == 100 ? "CUDA_ERROR_NO_DEVICE" : status == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_UNKNOWN";
    return 0;
}

int cuDriverGetVersion(int *version) { *version = gpus[0].cuda; return 0; }
int cuDeviceGetCount(int *found) { *found = count; return 0; }
int cuDeviceGet(int *device, int number) { *device = number; return 0; }
int cuDeviceGetName(char *name, int size, int device) { snprintf(name, size, "%s", gpus[device].name); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = gpus[device].bytes; return 0; }
int cuDeviceGetAttribute(int *value, int which, int device) {
    *value = which == 16 ? PROCESSORS : which == 75 ? 8 : which == 76 ? 9 : 0;
    return 0;
}
int cuDevicePrimaryCtxRetain(void **context, int device) {
    *context = (void *)(uintptr_t)(device + 1);
    return 0;
}
int cuCtxSetCurrent(void *context) { current = (int)(uintptr_t)context - 1; return 0; }
int cuModuleLoadData(void **module, const char *text) {
    *module = (void *)1;
    return strncmp(text, ".version", 8) ? 218 : 0;
}
int cuModuleGetFunction(void **function, void *module, const char *name) {
    *function = (void *)1;
    return strcmp(name, "product") ? 500 : 0;
}

int cuMemAlloc_v2(uint64_t *address, size_t size) {
    size_t most = gpus[current].bytes / (strcmp(gpus[current].fault, "shared") ? 1 : 2);
    if (taken + size > most) return 2;
    taken += size;
    if (size < LARGE) {
        *address = (uint64_t)(uintptr_t)malloc(size);
        return 0;
    }
    chunks[chunk_count].at = *address = 1UL << 60 | (uint64_t)chunk_count << 32;
    chunks[chunk_count++].size = size;
    return 0;
}

int cuMemFree_v2(uint64_t address) {
    if (address >> 60) {
        taken -= chunks[--chunk_count].size;
    } else {
        free((void *)(uintptr_t)address);
    }
    return 0;
}

int cuMemsetD32_v2(uint64_t address, unsigned word, size_t words) {
    chunks[(address >> 32) & 0xfff].word = strcmp(gpus[current].fault, "forgets") ? word : 0;
    return 0;
}

int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t size) {
    memcpy((void *)(uintptr_t)to, from, size);
    return 0;
}

int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t size) {
    if (from >> 60) memcpy(to, &chunks[(from >> 32) & 0xfff].word, size);
    else memcpy(to, (void *)(uintptr_t)from, size);
    return 0;
}

int cuMemcpyDtoD_v2(uint64_t to, uint64_t from, size_t size) {
    owed += 2.0 * size / (gpus[current].giga * 1e9);
    return 0;
}

int cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned ty, unsigned tz,
                   unsigned shared, void *stream, void **passed, void **extra) {
    float *sums = *(float **)passed[1];
    unsigned steps = *(unsigned *)passed[2] * 4;
    for (unsigned each = 0; each < x * threads; each++) sums[each] = 144.0f * steps;
    if (!strcmp(gpus[current].fault, "miscounts")) sums[x * threads - 1] += 1;
    owed += 128.0 * steps * x * threads / (gpus[current].tera * 1e12);
    return 0;
}

int cuCtxSynchronize(void) {
    struct timespec time = {(time_t)owed, (long)((owed - (time_t)owed) * 1e9)};
    owed = 0;
    return nanosleep(&time, 0);
}
