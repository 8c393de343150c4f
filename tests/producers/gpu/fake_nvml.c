/* A libnvidia-ml.so.1 without a GPU: the structures, symbols and return codes of NVML's header, and invented values.
 *
 * Written from the header, not from nvidia-ml-py, so that the two check one another. Environment:
 *   RUNTIDE_FAKE_NVML_GPUS      how many GPUs there are (8)
 *   RUNTIDE_FAKE_NVML_DELAY_US  how long each call about a GPU sleeps (0)
 *   RUNTIDE_FAKE_NVML_HANG      name:n: that function of GPU 0 never returns, from its call number n on
 *   RUNTIDE_FAKE_NVML_XID       gpu:xid: an event, told once
 *   RUNTIDE_FAKE_NVML_FAIL      name:code: what that function always returns
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef int nvmlReturn_t;
typedef struct gpu { int index; } *nvmlDevice_t;
typedef union { double d; unsigned int ui; unsigned long ul; unsigned long long ull; long long sll; int si; unsigned short us; } nvmlValue_t;
typedef struct { unsigned int fieldId, scopeId; long long timestamp, latencyUsec; int valueType; nvmlReturn_t nvmlReturn; nvmlValue_t value; } nvmlFieldValue_t;
typedef struct { unsigned long long timeStamp; nvmlValue_t sampleValue; } nvmlSample_t;
typedef struct { unsigned int gpu, memory; } nvmlUtilization_t;
typedef struct { unsigned long long total, free, used; } nvmlMemory_t;
typedef struct { unsigned int version; unsigned long long total, reserved, free, used; } nvmlMemory_v2_t;
typedef struct { unsigned int version; int sensorType; int temperature; } nvmlTemperature_v1_t;
typedef struct { char busIdLegacy[16]; unsigned int domain, bus, device, pciDeviceId, pciSubSystemId; char busId[32]; } nvmlPciInfo_t;
typedef struct { unsigned int pid; unsigned long long usedGpuMemory; unsigned int gpuInstanceId, computeInstanceId; } nvmlProcessInfo_t;
typedef struct { nvmlDevice_t device; unsigned long long eventType, eventData; unsigned int gpuInstanceId, computeInstanceId; } nvmlEventData_t;
typedef struct { double at; int gpu; } *nvmlGpmSample_t;
typedef struct { unsigned int metricId; nvmlReturn_t nvmlReturn; double value; struct { char *shortName, *longName, *unit; } metricInfo; } nvmlGpmMetric_t;
typedef struct { unsigned int version, numMetrics; nvmlGpmSample_t sample1, sample2; nvmlGpmMetric_t metrics[]; } nvmlGpmMetricsGet_t;
typedef struct { unsigned int version, isSupportedDevice; } nvmlGpmSupport_t;

#define MOST 64
static struct gpu gpus[MOST];
static int ready, delay_us, gpu_count, event_waits;
static double started;

static struct { const char *name; int calls; } calls[128];

int fake_calls(const char *name) {
    for (int i = 0; i < 128 && calls[i].name; i++)
        if (!strcmp(calls[i].name, name)) return calls[i].calls;
    return 0;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static char hang_name[64], fail_name[64];
static int hang_after = -1, fail_code, xid_gpu = -1, xid_number;

static void settings(void) {
    hang_name[0] = fail_name[0] = 0;
    xid_gpu = -1;
    memset(calls, 0, sizeof calls);
    const char *text = getenv("RUNTIDE_FAKE_NVML_GPUS");
    gpu_count = text ? atoi(text) : 8;
    text = getenv("RUNTIDE_FAKE_NVML_DELAY_US");
    delay_us = text ? atoi(text) : 0;
    text = getenv("RUNTIDE_FAKE_NVML_HANG");
    if (text) sscanf(text, "%63[^:]:%d", hang_name, &hang_after);
    text = getenv("RUNTIDE_FAKE_NVML_FAIL");
    if (text) sscanf(text, "%63[^:]:%d", fail_name, &fail_code);
    text = getenv("RUNTIDE_FAKE_NVML_XID");
    if (text) sscanf(text, "%d:%d", &xid_gpu, &xid_number);
    for (int i = 0; i < MOST; i++) gpus[i].index = i;
    started = now();
}

/* What every call does first: it is counted, may fail, may hang, and takes its time. */
static nvmlReturn_t enter(const char *name, nvmlDevice_t gpu) {
    int i = 0;
    while (i < 127 && calls[i].name && calls[i].name != name) i++;
    calls[i].name = name;
    calls[i].calls++;
    if (!ready) return 1;
    if (gpu && (gpu < gpus || gpu >= gpus + gpu_count)) return 2;
    if (!strcmp(name, fail_name)) return fail_code;
    if (gpu == gpus && !strcmp(name, hang_name) && calls[i].calls >= hang_after)
        for (;;) pause();
    if (gpu && delay_us) usleep(delay_us);
    return 0;
}
#define ENTER(gpu) do { nvmlReturn_t e = enter(__func__, gpu); if (e) return e; } while (0)

nvmlReturn_t nvmlInitWithFlags(unsigned int flags) { (void)flags; settings(); ready = 1; return enter(__func__, 0); }
nvmlReturn_t nvmlShutdown(void) { ENTER(0); ready = 0; return 0; }
const char *nvmlErrorString(nvmlReturn_t code) { static char text[32]; snprintf(text, 32, "code %d", code); return text; }

static nvmlReturn_t put(char *to, unsigned int size, const char *text) {
    if (strlen(text) >= size) return 7;
    strcpy(to, text);
    return 0;
}
nvmlReturn_t nvmlSystemGetDriverVersion(char *v, unsigned int n) { ENTER(0); return put(v, n, "570.86.15"); }
nvmlReturn_t nvmlSystemGetNVMLVersion(char *v, unsigned int n) { ENTER(0); return put(v, n, "12.570.86.15"); }
nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *v) { ENTER(0); *v = 12080; return 0; }

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *n) { ENTER(0); *n = gpu_count; return 0; }
nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int i, nvmlDevice_t *d) {
    ENTER(0);
    if (i >= (unsigned)gpu_count) return 2;
    *d = &gpus[i];
    return 0;
}
static void uuid(int i, char *to) { sprintf(to, "GPU-fa4e0000-aaaa-bbbb-cccc-%012d", i); }
nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *wanted, nvmlDevice_t *d) {
    ENTER(0);
    for (int i = 0; i < gpu_count; i++) {
        char text[64];
        uuid(i, text);
        if (!strcmp(text, wanted)) { *d = &gpus[i]; return 0; }
    }
    return 6;
}
nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t d, char *v, unsigned int n) { char t[64]; ENTER(d); uuid(d->index, t); return put(v, n, t); }
nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t d, char *v, unsigned int n) { ENTER(d); return put(v, n, "NVIDIA H100 80GB HBM3"); }
nvmlReturn_t nvmlDeviceGetSerial(nvmlDevice_t d, char *v, unsigned int n) { ENTER(d); return put(v, n, "1652923001234"); }
nvmlReturn_t nvmlDeviceGetVbiosVersion(nvmlDevice_t d, char *v, unsigned int n) { ENTER(d); return put(v, n, "96.00.89.00.01"); }
nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t d, nvmlPciInfo_t *p) {
    ENTER(d);
    memset(p, 0, sizeof *p);
    p->bus = 0x10 + d->index;
    sprintf(p->busId, "00000000:%02X:00.0", p->bus);
    return 0;
}
#define NUMBER(name, type, expression) nvmlReturn_t name(nvmlDevice_t d, type *v) { ENTER(d); *v = (expression); return 0; }
NUMBER(nvmlDeviceGetArchitecture, unsigned int, 9)
NUMBER(nvmlDeviceGetNumGpuCores, unsigned int, 16896)
NUMBER(nvmlDeviceGetNumaNodeId, unsigned int, d->index / 4)
NUMBER(nvmlDeviceGetMaxPcieLinkGeneration, unsigned int, 5)
NUMBER(nvmlDeviceGetMaxPcieLinkWidth, unsigned int, 16)
NUMBER(nvmlDeviceGetCurrPcieLinkGeneration, unsigned int, 5)
NUMBER(nvmlDeviceGetCurrPcieLinkWidth, unsigned int, 16)
NUMBER(nvmlDeviceGetPowerManagementDefaultLimit, unsigned int, 700000)
NUMBER(nvmlDeviceGetEnforcedPowerLimit, unsigned int, 700000)
NUMBER(nvmlDeviceGetPowerUsage, unsigned int, 450123)
NUMBER(nvmlDeviceGetCurrentClocksEventReasons, unsigned long long, 4)
NUMBER(nvmlDeviceGetSupportedEventTypes, unsigned long long, 0x1fb)
nvmlReturn_t nvmlDeviceGetPowerManagementLimitConstraints(nvmlDevice_t d, unsigned int *least, unsigned int *most) { ENTER(d); *least = 200000; *most = 700000; return 0; }
nvmlReturn_t nvmlDeviceGetMaxClockInfo(nvmlDevice_t d, int kind, unsigned int *v) { ENTER(d); *v = kind == 2 ? 2619 : 1980; return 0; }
nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t d, int kind, unsigned int *v) { ENTER(d); *v = kind == 2 ? 2619 : 1755 + d->index; return 0; }
nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t d, unsigned int *current, unsigned int *pending) { ENTER(d); *current = *pending = 0; return 0; }
nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t d, nvmlUtilization_t *u) { ENTER(d); u->gpu = 90 + d->index; u->memory = 40; return 0; }
nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t d, nvmlMemory_t *m) { ENTER(d); m->total = 85520809984ULL; m->used = 60000000000ULL; m->free = m->total - m->used; return 0; }
nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t d, nvmlMemory_v2_t *m) {
    ENTER(d);
    if (m->version != (sizeof *m | 2 << 24)) return 25;
    m->total = 85520809984ULL; m->reserved = 500000000ULL; m->used = 59500000000ULL + d->index; m->free = m->total - m->used - m->reserved;
    return 0;
}
nvmlReturn_t nvmlDeviceGetTemperatureV(nvmlDevice_t d, nvmlTemperature_v1_t *t) {
    ENTER(d);
    if (t->version != (sizeof *t | 1 << 24)) return 25;
    t->temperature = 60 + d->index;
    return 0;
}
nvmlReturn_t nvmlDeviceGetFanSpeed_v2(nvmlDevice_t d, unsigned int fan, unsigned int *v) { (void)fan; (void)v; ENTER(d); return 3; }
nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t d, unsigned int *n, nvmlProcessInfo_t *p) {
    ENTER(d);
    if (*n < 1) { *n = 1; return 7; }
    *n = 1;
    p[0].pid = 4242; p[0].usedGpuMemory = 1 << 30; p[0].gpuInstanceId = p[0].computeInstanceId = 0xFFFFFFFF;
    return 0;
}

/* Every value type that the fields have; what is behind a short value is not zeroed. */
static void field(int gpu, nvmlFieldValue_t *f) {
    double seconds = now() - started;
    f->timestamp = (long long)(now() * 1e6);
    f->nvmlReturn = 0;
    f->valueType = 3;
    f->value.ull = 0xABABABABABABABABULL;
    switch (f->fieldId) {
    case 83: f->value.ull = (unsigned long long)(1e9 + gpu * 1e6 + 450e3 * seconds); break;
    case 185: f->valueType = 1; f->value.ui = 450123; break;
    case 186: f->valueType = 1; f->value.ui = 455678; break;
    case 190: f->valueType = 1; f->value.ui = 700000; break;
    case 82: f->valueType = 1; f->value.ui = 70 + gpu; break;
    case 74: f->value.ull = (unsigned long long)(seconds * 1e8); break;
    case 76: case 269: case 270: case 271: case 79: f->value.ull = 0; break;
    case 3: case 4: f->value.ull = f->fieldId - 3; break;
    case 142: case 143: case 144: case 145: f->valueType = 1; f->value.ui = 0; break;
    case 94: f->valueType = 1; f->value.ui = 2; break;
    case 91: f->valueType = 1; f->value.ui = 18; break;
    case 161: case 162: case 163: f->value.ull = f->scopeId == 17 ? f->fieldId - 160 : 0; break;
    case 230: f->valueType = 1; f->value.ui = 0; break;
    default: f->nvmlReturn = 3;
    }
}
nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t d, int n, nvmlFieldValue_t *f) {
    ENTER(d);
    for (int i = 0; i < n; i++) field(d->index, &f[i]);
    return 0;
}

/* Seven samples a second, kept for ten seconds. */
nvmlReturn_t nvmlDeviceGetSamples(nvmlDevice_t d, int kind, unsigned long long since, int *type, unsigned int *n, nvmlSample_t *s) {
    ENTER(d);
    if (kind > 1) return 3;
    unsigned long long step = 1000000 / 7, end = (unsigned long long)(now() * 1e6) / step, begin = end - 70, count = 0;
    if (since / step + 1 > begin) begin = since / step + 1;
    *type = 1;
    if (begin > end) return 6;
    if (!s) { *n = (unsigned int)(end - begin + 1); return 0; }
    for (unsigned long long i = begin; i <= end && count < *n; i++, count++) {
        s[count].timeStamp = i * step;
        s[count].sampleValue.ull = 0xABABABABABABABABULL;
        s[count].sampleValue.ui = kind == 0 ? 450000 + i % 100 * 10 : i % 101;
    }
    *n = (unsigned int)count;
    return 0;
}

nvmlReturn_t nvmlGpmQueryDeviceSupport(nvmlDevice_t d, nvmlGpmSupport_t *s) { ENTER(d); if (s->version != 1) return 25; s->isSupportedDevice = 1; return 0; }
nvmlReturn_t nvmlGpmSampleAlloc(nvmlGpmSample_t *s) { ENTER(0); *s = calloc(1, sizeof **s); return 0; }
nvmlReturn_t nvmlGpmSampleFree(nvmlGpmSample_t s) { ENTER(0); free(s); return 0; }
nvmlReturn_t nvmlGpmSampleGet(nvmlDevice_t d, nvmlGpmSample_t s) { ENTER(d); s->at = now(); s->gpu = d->index; return 0; }
nvmlReturn_t nvmlGpmMetricsGet(nvmlGpmMetricsGet_t *g) {
    ENTER(0);
    if (g->version != 1) return 25;
    if (g->sample2->gpu != g->sample1->gpu || g->sample2->at - g->sample1->at < 0.1) return 2;
    for (unsigned int i = 0; i < g->numMetrics; i++) {
        unsigned int id = g->metrics[i].metricId;
        g->metrics[i].nvmlReturn = 0;
        g->metrics[i].value = id == 11 ? NAN : id >= 20 ? 100.0 + id + g->sample1->gpu : id * 1.26;
    }
    return 0;
}

nvmlReturn_t nvmlEventSetCreate(void **set) { ENTER(0); *set = &event_waits; return 0; }
nvmlReturn_t nvmlEventSetFree(void *set) { (void)set; ENTER(0); return 0; }
nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t d, unsigned long long types, void *set) { (void)set; ENTER(d); return types & ~0x1fbULL ? 3 : 0; }
nvmlReturn_t nvmlEventSetWait_v2(void *set, nvmlEventData_t *data, unsigned int timeout_ms) {
    (void)set;
    ENTER(0);
    if (xid_gpu >= 0) {
        memset(data, 0, sizeof *data);
        data->device = &gpus[xid_gpu];
        data->eventType = 8;
        data->eventData = xid_number;
        xid_gpu = -1;
        return 0;
    }
    usleep(timeout_ms * 1000);
    return 10;
}
