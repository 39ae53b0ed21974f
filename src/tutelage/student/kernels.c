/* What costs a decoder time apart from its matrix products, each in one pass over its rows.
 *
 * Compiled at first use by kernels.py, which splits the rows over threads; without a compiler the
 * same is done in torch. Numbers are bfloat16 in memory (uint16_t here) and float32 in registers;
 * sums over the vocabulary are carried on in double. A NaN in gives a NaN out.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define BLOCK 2048
#define KEPT 4096 /* how many powers of one softmax row fit on the stack */

static inline float wide(uint16_t h) {
  uint32_t bits = (uint32_t)h << 16;
  float f;
  memcpy(&f, &bits, 4);
  return f;
}

/* Rounds to even. A NaN stays one: all that comes in was bfloat16, whose low bits are zero, as are
 * those of the processor's own NaN, so that nothing is carried into its sign. */
static inline uint16_t narrow(float f) {
  uint32_t bits;
  memcpy(&bits, &f, 4);
  return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

/* exp for arguments that are at most 0 or moderate; below -87 it is as good as 0. */
static inline float fast_exp(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  float n = __builtin_rintf(x * 1.44269504f);
  float r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  int32_t bits = ((int32_t)n + 127) << 23;
  float scale;
  memcpy(&scale, &bits, 4);
  return p * scale;
}

/* Row statistics of logits: log-probability and, if full, rank, entropy and sum of squares. */
#define STATISTICS(NAME, TYPE, READ)                                                         \
  void NAME(const TYPE *logits, int64_t vocabulary, const int64_t *targets, float *out,      \
            int64_t full, int64_t first, int64_t last) {                                     \
    for (int64_t row = first; row < last; row++) {                                           \
      const TYPE *x = logits + row * vocabulary;                                             \
      float *o = out + row * 4;                                                              \
      float most = -INFINITY, chosen = READ(x[targets[row]]);                                \
      _Pragma("omp simd reduction(max : most)") for (int64_t v = 0; v < vocabulary; v++) {   \
        float f = READ(x[v]);                                                                \
        most = f > most ? f : most;                                                          \
      }                                                                                      \
      double sum = 0, weighted = 0, squares = 0;                                             \
      int64_t above = 0;                                                                     \
      for (int64_t start = 0; start < vocabulary; start += BLOCK) {                          \
        int64_t end = start + BLOCK < vocabulary ? start + BLOCK : vocabulary;               \
        float s = 0, w = 0, q = 0;                                                           \
        int32_t a = 0;                                                                       \
        if (full) {                                                                          \
          _Pragma("omp simd reduction(+ : s, w, q, a)") for (int64_t v = start; v < end; v++) { \
            float f = READ(x[v]), d = f - most;                                              \
            d = d < -87.0f ? -87.0f : d;                                                     \
            float e = fast_exp(d);                                                           \
            s += e;                                                                          \
            w += e * d;                                                                      \
            q += e * e;                                                                      \
            a += f > chosen;                                                                 \
          }                                                                                  \
        } else {                                                                             \
          _Pragma("omp simd reduction(+ : s)") for (int64_t v = start; v < end; v++) {       \
            s += fast_exp(READ(x[v]) - most);                                                \
          }                                                                                  \
        }                                                                                    \
        sum += s;                                                                            \
        weighted += w;                                                                       \
        squares += q;                                                                        \
        above += a;                                                                          \
      }                                                                                      \
      double log_sum = log(sum);                                                             \
      o[0] = (float)((double)chosen - most - log_sum);                                       \
      o[1] = (float)(above + 1);                                                             \
      o[2] = (float)(log_sum - weighted / sum);                                              \
      o[3] = (float)(squares / sum / sum);                                                   \
    }                                                                                        \
  }
#define SAME(x) (x)
STATISTICS(statistics_bf16, uint16_t, wide)
STATISTICS(statistics_f32, float, SAME)

/* One row of RMS norm. `late`: round before the weight is multiplied, as Llama does. */
static inline void norm_row(const uint16_t *x, const float *weight, int64_t size, float eps,
                            int64_t late, uint16_t *out) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t h = 0; h < size; h++) {
    float f = wide(x[h]);
    sum += f * f;
  }
  float scale = 1.0f / sqrtf(sum / (float)size + eps);
  if (late) {
#pragma omp simd
    for (int64_t h = 0; h < size; h++) out[h] = narrow(wide(narrow(wide(x[h]) * scale)) * weight[h]);
  } else {
#pragma omp simd
    for (int64_t h = 0; h < size; h++) out[h] = narrow(wide(x[h]) * scale * weight[h]);
  }
}

void norm(const uint16_t *x, const float *weight, int64_t size, float eps, int64_t late,
          uint16_t *out, int64_t first, int64_t last) {
  for (int64_t n = first; n < last; n++)
    norm_row(x + n * size, weight, size, eps, late, out + n * size);
}

/* x += y, then the norm of x. */
void add_norm(uint16_t *x, const uint16_t *y, const float *weight, int64_t size, float eps,
              int64_t late, uint16_t *out, int64_t first, int64_t last) {
  for (int64_t n = first; n < last; n++) {
    uint16_t *row = x + n * size;
    const uint16_t *added = y + n * size;
#pragma omp simd
    for (int64_t h = 0; h < size; h++) row[h] = narrow(wide(row[h]) + wide(added[h]));
    norm_row(row, weight, size, eps, late, out + n * size);
  }
}

/* Split joined projections into queries, keys and values; norm heads if weights are given; turn
 * queries and keys by their angles. */
void split_and_turn(const uint16_t *joined, const float *cos, const float *sin,
                    const float *query_weight, const float *key_weight, float eps, int64_t late,
                    int64_t heads, int64_t kv_heads, int64_t size, uint16_t *query, uint16_t *key,
                    uint16_t *value, int64_t first, int64_t last) {
  int64_t half = size / 2, width = (heads + 2 * kv_heads) * size;
  uint16_t normed[1024];
  for (int64_t n = first; n < last; n++) {
    const float *c = cos + n * size, *s = sin + n * size;
    for (int64_t a = 0; a < heads + kv_heads; a++) {
      const uint16_t *x = joined + n * width + a * size;
      int is_query = a < heads;
      uint16_t *out = is_query ? query + (n * heads + a) * size
                               : key + (n * kv_heads + a - heads) * size;
      const float *weight = is_query ? query_weight : key_weight;
      if (weight) {
        norm_row(x, weight, size, eps, late, normed);
        x = normed;
      }
#pragma omp simd
      for (int64_t d = 0; d < half; d++) {
        float left = wide(x[d]), right = wide(x[d + half]);
        out[d] = narrow(left * c[d] - right * s[d]);
        out[d + half] = narrow(right * c[d + half] + left * s[d + half]);
      }
    }
    memcpy(value + n * kv_heads * size, joined + n * width + (heads + kv_heads) * size,
           (size_t)(kv_heads * size) * sizeof(uint16_t));
  }
}

/* act(gate) * up of rows that hold gate and up next to each other. */
void gate(const uint16_t *joined, int64_t size, int64_t is_gelu, uint16_t *out, int64_t first,
          int64_t last) {
  for (int64_t n = first; n < last; n++) {
    const uint16_t *g = joined + n * 2 * size, *u = g + size;
    uint16_t *o = out + n * size;
    if (is_gelu) {
#pragma omp simd
      for (int64_t i = 0; i < size; i++) {
        float x = wide(g[i]);
        float z = 1.5957691216f * (x + 0.044715f * x * x * x);
        float act = x / (1.0f + fast_exp(-z));
        o[i] = narrow(wide(narrow(act)) * wide(u[i]));
      }
    } else {
#pragma omp simd
      for (int64_t i = 0; i < size; i++) {
        float x = wide(g[i]);
        float act = x / (1.0f + fast_exp(-x));
        o[i] = narrow(wide(narrow(act)) * wide(u[i]));
      }
    }
  }
}

/* 2 to the power of x, for x of at most 0; below -126 it is as good as 0. The fraction is within a
 * half, where Taylor's polynomial is exact to a float's last digit. A third cheaper than fast_exp,
 * which sums over a vocabulary and gates need: there arguments are positive, too, and x times
 * log2(e) in one product would cost digits. What is made of this is rounded to bfloat16. */
static inline float power_of_two(float x) {
  x = x < -126.0f ? -126.0f : x;
  float n = __builtin_rintf(x), r = x - n;
  float p = 1.5403530393e-4f;
  p = p * r + 1.3333558146e-3f;
  p = p * r + 9.6181291076e-3f;
  p = p * r + 5.5504108664e-2f;
  p = p * r + 2.4022650696e-1f;
  p = p * r + 6.9314718056e-1f;
  p = p * r + 1.0f;
  int32_t bits;
  memcpy(&bits, &p, 4);
  bits += (int32_t)n << 23;
  memcpy(&p, &bits, 4);
  return p;
}

/* Causal softmax in place. A row is one (tile, key-value head, query, head of the group); it sees
 * the keys from position - window + 1 to position; window 0 is all the way back. */
void causal_softmax(uint16_t *scores, const int64_t *positions, int64_t kv_heads, int64_t queries,
                    int64_t group, int64_t keys, int64_t window, float scale, int64_t first,
                    int64_t last) {
  float kept[KEPT];
  float factor = scale * 1.44269504f;
  for (int64_t row = first; row < last; row++) {
    int64_t query = row / group % queries, tile = row / group / queries / kv_heads;
    int64_t end = positions[tile * queries + query] + 1;
    int64_t start = window && end > window ? end - window : 0;
    uint16_t *x = scores + row * keys;
    float most = -INFINITY, sum = 0;
#pragma omp simd reduction(max : most)
    for (int64_t k = start; k < end; k++) {
      float f = wide(x[k]);
      most = f > most ? f : most;
    }
    float shift = most * factor;
    if (end - start <= KEPT) {
#pragma omp simd reduction(+ : sum)
      for (int64_t k = start; k < end; k++) {
        float e = power_of_two(wide(x[k]) * factor - shift);
        kept[k - start] = e;
        sum += e;
      }
      float share = 1.0f / sum;
#pragma omp simd
      for (int64_t k = start; k < end; k++) x[k] = narrow(kept[k - start] * share);
    } else {
#pragma omp simd reduction(+ : sum)
      for (int64_t k = start; k < end; k++) sum += power_of_two(wide(x[k]) * factor - shift);
      float share = 1.0f / sum;
#pragma omp simd
      for (int64_t k = start; k < end; k++)
        x[k] = narrow(power_of_two(wide(x[k]) * factor - shift) * share);
    }
    memset(x, 0, (size_t)start * sizeof(uint16_t));
    memset(x + end, 0, (size_t)(keys - end) * sizeof(uint16_t));
  }
}
