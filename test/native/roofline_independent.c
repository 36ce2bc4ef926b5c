/* An independent measurement of what `nibble bench roofline` measures, written differently on purpose: plain C with
 * pthreads, hand-written assembler loops, fixed work per thread timed by each thread itself, mmap instead of an
 * aligned heap. Rates should agree within 10 % on a quiet machine. x86-64 only.
 *
 *   gcc -O2 -pthread test/native/roofline_independent.c -o /tmp/roofline && /tmp/roofline 2
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

enum { PASSES = 25, LOOPS = 2000000, THREADS_MAX = 64 };
static const size_t SHARE = (size_t)320 << 20;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#define LINE(op, r, d) op " %%" r "30,%%" r "31,%%" r #d "\n\t"
#define TWELVE(op, r)                                                                                             \
  LINE(op, r, 16)                                                                                                 \
  LINE(op, r, 17) LINE(op, r, 18) LINE(op, r, 19) LINE(op, r, 20) LINE(op, r, 21) LINE(op, r, 22) LINE(op, r, 23) \
      LINE(op, r, 24) LINE(op, r, 25) LINE(op, r, 26) LINE(op, r, 27)
#define LINE_LOW(op, d) op " %%ymm14,%%ymm15,%%ymm" #d "\n\t"
#define TEN_LOW(op)                                                                                               \
  LINE_LOW(op, 0)                                                                                                 \
  LINE_LOW(op, 1) LINE_LOW(op, 2) LINE_LOW(op, 3) LINE_LOW(op, 4) LINE_LOW(op, 5) LINE_LOW(op, 6) LINE_LOW(op, 7) \
      LINE_LOW(op, 8) LINE_LOW(op, 9)

#define LOOP(body) \
  for (long i = 0; i < LOOPS; ++i) __asm__ volatile(body ::: "memory")

static double int8_512(void) {
  LOOP(TWELVE("vpdpbusd", "zmm"));
  return 12.0 * 64 * LOOPS;
}
static double fp32_512(void) {
  LOOP(TWELVE("vfmadd231ps", "zmm"));
  return 12.0 * 16 * LOOPS;
}
static double int8_vnni256(void) {
  LOOP(TEN_LOW("%{vex%} vpdpbusd"));
  return 10.0 * 32 * LOOPS;
}
static double fp32_256(void) {
  LOOP(TEN_LOW("vfmadd231ps"));
  return 10.0 * 8 * LOOPS;
}
#define PAIR(d, t) "vpmaddubsw %%ymm14,%%ymm15,%%ymm" #t "\n\tvpaddw %%ymm" #t ",%%ymm" #d ",%%ymm" #d "\n\t"
static double int8_256(void) {
  LOOP(PAIR(0, 6) PAIR(1, 7) PAIR(2, 8) PAIR(3, 9) PAIR(4, 10) PAIR(5, 11));
  return 6.0 * 32 * LOOPS;
}

typedef struct {
  double (*work)(void);
  const uint64_t* data;
  double best; /* units per second */
  double seconds[PASSES];
  double units;
} Job;
static pthread_barrier_t barrier;

/* Two interleaved halves, eight 32-byte loads each, SSE-free: prefetchers see two ascending streams. */
static double read_share(const uint64_t* data) {
  const char* low = (const char*)data;
  const char* high = low + SHARE / 2;
  for (size_t at = 0; at < SHARE / 2; at += 128) {
    __asm__ volatile(
        "vmovdqu (%0),%%ymm0\n\tvmovdqu 32(%0),%%ymm1\n\tvmovdqu 64(%0),%%ymm2\n\tvmovdqu 96(%0),%%ymm3\n\t"
        "vmovdqu (%1),%%ymm4\n\tvmovdqu 32(%1),%%ymm5\n\tvmovdqu 64(%1),%%ymm6\n\tvmovdqu 96(%1),%%ymm7" ::"r"(low +
                                                                                                               at),
        "r"(high + at)
        : "memory");
  }
  return (double)SHARE;
}

static void* run(void* argument) {
  Job* job = argument;
  if (job->work == NULL) {
    char* data = mmap(NULL, SHARE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) exit(1);
    madvise(data, SHARE, MADV_HUGEPAGE);
    for (size_t i = 0; i < SHARE; i += 64) data[i] = (char)(i >> 6 | 1);
    job->data = (const uint64_t*)(const void*)data;
  }
  for (int pass = 0; pass < PASSES; ++pass) {
    pthread_barrier_wait(&barrier);
    const double start = now();
    job->units = job->work != NULL ? job->work() : read_share(job->data);
    job->seconds[pass] = now() - start;
  }
  if (job->data != NULL) munmap((void*)(uintptr_t)job->data, SHARE);
  return NULL;
}

/* A pass lasts as long as its slowest thread; the best pass counts. */
static double measure(double (*work)(void), int threads) {
  static Job jobs[THREADS_MAX];
  pthread_t ids[THREADS_MAX];
  pthread_barrier_init(&barrier, NULL, (unsigned)threads);
  for (int t = 0; t < threads; ++t) {
    jobs[t] = (Job){.work = work};
    pthread_create(&ids[t], NULL, run, &jobs[t]);
  }
  for (int t = 0; t < threads; ++t) pthread_join(ids[t], NULL);
  double best = 0;
  for (int pass = 0; pass < PASSES; ++pass) {
    double slowest = 0;
    for (int t = 0; t < threads; ++t) slowest = jobs[t].seconds[pass] > slowest ? jobs[t].seconds[pass] : slowest;
    const double rate = jobs[0].units * threads / slowest * 1e-9;
    best = rate > best ? rate : best;
  }
  return best;
}

int main(int argc, char** argv) {
  const int threads = argc > 1 ? atoi(argv[1]) : 1;
  if (threads < 1 || threads > THREADS_MAX) return 2;
  __builtin_cpu_init();
  unsigned a = 0, b, c, d;
  __get_cpuid_count(7, 1, &a, &b, &c, &d);
  printf("threads %d\nread %.1f GB/s\n", threads, measure(NULL, threads));
  printf("avx2     int8 %.1f GMAC/s, fp32 %.1f GMAC/s\n", measure(int8_256, threads), measure(fp32_256, threads));
  if (a & (1u << 4)) printf("avxvnni  int8 %.1f GMAC/s\n", measure(int8_vnni256, threads));
  if (__builtin_cpu_supports("avx512vnni")) {
    printf("avx512   int8 %.1f GMAC/s, fp32 %.1f GMAC/s\n", measure(int8_512, threads), measure(fp32_512, threads));
  }
  return 0;
}
