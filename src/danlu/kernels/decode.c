/* One token for each of a few sequences: all layers of a decoder of the Llama/Qwen family, over a key-value cache.
 *
 * In: hidden states of the new tokens, weights and cache as the model keeps them, where each sequence stands. Out: hidden
 * states after the final norm; the cache with the new keys and values. Called by decode.py. The reference is
 * `Transformer.forward` with a cache; sums are in fp32, and those of a row never depend on the other rows.
 *
 * With few rows a product reads each weight once and does little with it: the memory's speed is the limit, if nothing
 * else is in the way. Weights are fp32, or bf16 with activations rounded to bf16 before each product.
 */

#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

enum { LANES = 16, TILE_OUTPUTS = 4, TILE_ROWS = 4 };
#define UNROLL _Pragma("GCC unroll 8") /* before arrays of vectors can live in registers */
typedef float vector __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));
typedef float half_vector __attribute__((vector_size(LANES / 2 * sizeof(float))));
typedef float quarter_vector __attribute__((vector_size(LANES / 4 * sizeof(float))));
typedef int32_t integers __attribute__((vector_size(LANES * sizeof(int32_t))));
typedef uint32_t words __attribute__((vector_size(LANES * sizeof(uint32_t))));
typedef uint16_t halves __attribute__((vector_size(LANES * sizeof(uint16_t)), aligned(2), may_alias));

typedef struct {
    const void *query, *key, *value, *output, *gate, *up, *down;
    const void *query_bias, *key_bias, *value_bias; /* NULL where there is none */
    const void *attention_norm, *mlp_norm, *query_norm, *key_norm;
    void *keys, *values; /* (slots, G, places, K) */
} Layer;

typedef struct {
    int64_t layers, width, heads, kv_heads, head_width, mlp_width, places, is_half, threads;
    float epsilon;
    const float *frequencies; /* (K / 2,), NULL where positions are learned */
    const void *norm;
    const Layer *layer;
} Model;

static inline float widen(uint16_t half) {
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint16_t narrow(float value) { /* to the nearest, ties to even; NaN stays NaN */
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}

static inline float read(const void *from, int64_t index, int is_half) {
    return is_half ? widen(((const uint16_t *)from)[index]) : ((const float *)from)[index];
}

static inline vector read_lanes(const void *from, int64_t index, int is_half) {
    if (!is_half) return *(const vector *)((const float *)from + index);
    return (vector)(__builtin_convertvector(*(const halves *)((const uint16_t *)from + index), words) << 16);
}

static inline float total(vector value) { /* by halves: the same tree on every machine */
    half_vector low, high;
    quarter_vector one, other;
    memcpy(&low, &value, sizeof low);
    memcpy(&high, (const char *)&value + sizeof low, sizeof high);
    low += high;
    memcpy(&one, &low, sizeof one);
    memcpy(&other, (const char *)&low + sizeof one, sizeof other);
    one += other;
    return (one[0] + one[2]) + (one[1] + one[3]);
}

#ifdef __clang__
#define PICKED(one, other, ...) __builtin_shufflevector(one, other, __VA_ARGS__)
#else
#define PICKED(one, other, ...) __builtin_shuffle(one, other, (integers){__VA_ARGS__})
#endif

/* The totals of sixteen vectors at once, each by the same tree: every step halves the lanes of two and joins them. */
static inline vector totals(const vector *v) {
    vector by_8[8], by_4[4], by_2[2];
    UNROLL for (int i = 0; i < 8; i++)
        by_8[i] = PICKED(v[2 * i], v[2 * i + 1], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
                  PICKED(v[2 * i], v[2 * i + 1], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    UNROLL for (int i = 0; i < 4; i++)
        by_4[i] = PICKED(by_8[2 * i], by_8[2 * i + 1], 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
                  PICKED(by_8[2 * i], by_8[2 * i + 1], 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
    UNROLL for (int i = 0; i < 2; i++)
        by_2[i] = PICKED(by_4[2 * i], by_4[2 * i + 1], 0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29) +
                  PICKED(by_4[2 * i], by_4[2 * i + 1], 2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31);
    return PICKED(by_2[0], by_2[1], 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30) +
           PICKED(by_2[0], by_2[1], 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}

static inline vector chosen(integers where, vector one, vector other) {
    return (vector)((where & (integers)one) | (~where & (integers)other));
}

/* e^x to two units in the last place: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2] (Cephes' expf). */
static inline vector exponential(vector x) {
    const vector zero = {}, rounder = zero + 12582912.0f; /* 1.5 * 2^23: adding it leaves no room for a fraction */
    x = chosen(x < -87.0f, zero - 87.0f, x);
    x = chosen(x > 88.0f, zero + 88.0f, x);
    vector whole = (x * 1.44269504088896341f + rounder) - rounder;
    integers power = __builtin_convertvector(whole, integers);
    x -= whole * 0.693359375f;
    x -= whole * -2.12194440e-4f;
    vector y = zero + 1.9875691500e-4f;
    y = y * x + 1.3981999507e-3f;
    y = y * x + 8.3334519073e-3f;
    y = y * x + 4.1665795894e-2f;
    y = y * x + 1.6666665459e-1f;
    y = y * x + 5.0000001201e-1f;
    y = y * x * x + x + 1.0f;
    return y * (vector)((power + 127) << 23);
}

/* Dot products of `outputs` weight rows with `rows` rows of x: both counts are constants where this is inlined. */
static inline __attribute__((always_inline)) void tile(const void *weight, int64_t inputs, int outputs, const void *x,
                                                       int rows, int is_half, int ahead, float *found) {
    int64_t at = 0;
    vector sums[TILE_OUTPUTS][TILE_ROWS];
    UNROLL for (int o = 0; o < outputs; o++)
        UNROLL for (int r = 0; r < rows; r++) sums[o][r] = (vector){};
#ifdef __AVX512BF16__
    if (is_half) {
        for (; at + 2 * LANES <= inputs; at += 2 * LANES) {
            if (ahead) UNROLL for (int o = 0; o < outputs; o++) __builtin_prefetch((const uint16_t *)weight + (outputs + o) * inputs + at);
            __m512bh other[TILE_ROWS];
            UNROLL for (int r = 0; r < rows; r++)
                other[r] = (__m512bh)_mm512_loadu_si512((const uint16_t *)x + r * inputs + at);
            UNROLL for (int o = 0; o < outputs; o++) {
                __m512bh one = (__m512bh)_mm512_loadu_si512((const uint16_t *)weight + o * inputs + at);
                UNROLL for (int r = 0; r < rows; r++) sums[o][r] = (vector)_mm512_dpbf16_ps((__m512)sums[o][r], one, other[r]);
            }
        }
    }
#endif
    for (; at + LANES <= inputs; at += LANES) {
        if (ahead) UNROLL for (int o = 0; o < outputs; o++) __builtin_prefetch((const float *)weight + (outputs + o) * inputs + at);
        vector other[TILE_ROWS];
        UNROLL for (int r = 0; r < rows; r++) other[r] = read_lanes(x, r * inputs + at, is_half);
        UNROLL for (int o = 0; o < outputs; o++) {
            vector one = read_lanes(weight, o * inputs + at, is_half);
            UNROLL for (int r = 0; r < rows; r++) sums[o][r] += one * other[r];
        }
    }
    if (outputs * rows == LANES) {
        *(vector *)found = totals(&sums[0][0]);
    } else {
        for (int o = 0; o < outputs; o++)
            for (int r = 0; r < rows; r++) found[o * TILE_ROWS + r] = total(sums[o][r]);
    }
    for (; at < inputs; at++)
        for (int o = 0; o < outputs; o++)
            for (int r = 0; r < rows; r++)
                found[o * TILE_ROWS + r] += read(weight, o * inputs + at, is_half) * read(x, r * inputs + at, is_half);
}

/* found[o][r] for up to four outputs and four rows; whole tiles are the compiler's to unroll. */
static void products(const void *weight, int64_t inputs, int64_t output, int outputs, const void *x, int64_t row,
                     int rows, int is_half, int ahead, float *found) {
    int64_t size = is_half ? 2 : 4;
    const char *from = (const char *)weight + output * inputs * size, *of = (const char *)x + row * inputs * size;
#define TILE(O, R)                                       \
    if (outputs == (O) && rows == (R)) {                 \
        if (is_half) tile(from, inputs, O, of, R, 1, ahead, found); \
        else tile(from, inputs, O, of, R, 0, ahead, found);     \
        return;                                          \
    }
    TILE(4, 4) TILE(4, 1) TILE(4, 2) TILE(4, 3)
#undef TILE
    for (int o = 0; o < outputs; o++)
        for (int r = 0; r < rows; r++) {
            float one[TILE_OUTPUTS * TILE_ROWS];
            tile(from + o * inputs * size, inputs, 1, of + r * inputs * size, 1, is_half, 0, one);
            found[o * TILE_ROWS + r] = one[0];
        }
}

static inline int least(int64_t one, int64_t other) { return (int)(one < other ? one : other); }

/* out (rows, outputs) = x weight^T + bias, or out += it; shared out among the threads of the enclosing region. */
static void linear(const void *weight, const void *bias, int64_t inputs, int64_t outputs, const void *x, int64_t rows,
                   int is_half, int adds, float *out, int64_t stride) {
#pragma omp for schedule(static) nowait
    for (int64_t o = 0; o < outputs; o += TILE_OUTPUTS) {
        int wide = least(outputs - o, TILE_OUTPUTS);
        float offset[TILE_OUTPUTS] = {0};
        for (int i = 0; bias && i < wide; i++) offset[i] = read(bias, o + i, is_half);
        for (int64_t r = 0; r < rows; r += TILE_ROWS) {
            int high = least(rows - r, TILE_ROWS);
            float found[TILE_OUTPUTS * TILE_ROWS];
            products(weight, inputs, o, wide, x, r, high, is_half, r > 0 || rows <= TILE_ROWS, found);
            for (int j = 0; j < high; j++) {
                float *place = out + (r + j) * stride + o;
                if (adds)
                    for (int i = 0; i < wide; i++) place[i] += found[i * TILE_ROWS + j] + offset[i];
                else
                    for (int i = 0; i < wide; i++) place[i] = found[i * TILE_ROWS + j] + offset[i];
            }
        }
    }
}

static void put(float value, void *to, int64_t index, int is_half) {
    if (is_half) ((uint16_t *)to)[index] = narrow(value);
    else ((float *)to)[index] = value;
}

/* Root-mean-square norm of one row of fp32; in bf16 it is rounded before the scale, as the reference does. */
static void norm(const float *x, const void *scale, int64_t width, float epsilon, int is_half, void *out, int stays_wide) {
    vector sums = {};
    int64_t at = 0;
    for (; at + LANES <= width; at += LANES) sums += *(const vector *)(x + at) * *(const vector *)(x + at);
    float squares = total(sums);
    for (; at < width; at++) squares += x[at] * x[at];
    float factor = 1.0f / sqrtf(squares / (float)width + epsilon);
    if (!is_half) {
        for (int64_t i = 0; i < width; i++) ((float *)out)[i] = x[i] * factor * ((const float *)scale)[i];
    } else if (stays_wide) {
        for (int64_t i = 0; i < width; i++)
            ((float *)out)[i] = widen(narrow(widen(narrow(x[i] * factor)) * widen(((const uint16_t *)scale)[i])));
    } else {
        for (int64_t i = 0; i < width; i++)
            ((uint16_t *)out)[i] = narrow(widen(narrow(x[i] * factor)) * widen(((const uint16_t *)scale)[i]));
    }
}

/* Cosines, then sines, of a row's angles: the same for all heads and layers. */
static void turns(const float *frequencies, int64_t half, int64_t position, float *table) {
    for (int64_t k = 0; k < half; k++) {
        table[k] = cosf((float)position * frequencies[k]);
        table[half + k] = sinf((float)position * frequencies[k]);
    }
}

static void rotate(float *x, int64_t head_width, const float *table) {
    int64_t half = head_width / 2;
    for (int64_t k = 0; k < half; k++) {
        float low = x[k], high = x[k + half];
        x[k] = low * table[k] - high * table[half + k];
        x[k + half] = high * table[k] + low * table[half + k];
    }
}

/* One key-value head of one row: store the new key and value, then let its query heads look at all up to itself. */
static void attend(const Model *model, const Layer *layer, int64_t group, int64_t slot, int64_t position,
                   const float *table, float *query, float *key, float *value, float *scores, void *mixed) {
    int64_t K = model->head_width, share = model->heads / model->kv_heads;
    int is_half = (int)model->is_half;
    int64_t first = ((slot * model->kv_heads + group) * model->places) * K, own = first + position * K;
    if (layer->key_norm) norm(key, layer->key_norm, K, model->epsilon, is_half, key, 1);
    if (model->frequencies) rotate(key, K, table);
    for (int64_t k = 0; k < K; k++) {
        put(key[k], layer->keys, own + k, is_half);
        put(value[k], layer->values, own + k, is_half);
    }
    float scale = 1.0f / sqrtf((float)K);
    for (int64_t head = 0; head < share; head++) {
        float *one = query + head * K;
        if (layer->query_norm) norm(one, layer->query_norm, K, model->epsilon, is_half, one, 1);
        if (model->frequencies) rotate(one, K, table);
        float largest = -INFINITY;
        for (int64_t s = 0; s <= position; s++) {
            vector sums = {};
            int64_t k = 0, at = first + s * K;
            for (; k + LANES <= K; k += LANES) sums += *(vector *)(one + k) * read_lanes(layer->keys, at + k, is_half);
            float score = total(sums);
            for (; k < K; k++) score += one[k] * read(layer->keys, at + k, is_half);
            scores[s] = score * scale;
            if (scores[s] > largest) largest = scores[s];
        }
        int64_t end = (position + LANES) / LANES * LANES; /* scores has room for a whole vector more */
        for (int64_t s = position + 1; s < end; s++) scores[s] = -INFINITY;
        vector sums = {};
        for (int64_t s = 0; s < end; s += LANES) {
            vector weight = exponential(*(vector *)(scores + s) - largest);
            for (int64_t beyond = position + 1 - s; beyond < LANES; beyond++) weight[beyond] = 0;
            *(vector *)(scores + s) = weight;
            sums += weight;
        }
        float factor = 1.0f / total(sums);
        int64_t to = (group * share + head) * K, k = 0;
        for (; k + LANES <= K; k += LANES) {
            vector sum = {};
            for (int64_t s = 0; s <= position; s++) sum += scores[s] * read_lanes(layer->values, first + s * K + k, is_half);
            for (int lane = 0; lane < LANES; lane++) put(sum[lane] * factor, mixed, to + k + lane, is_half);
        }
        for (; k < K; k++) {
            float sum = 0;
            for (int64_t s = 0; s <= position; s++) sum += scores[s] * read(layer->values, first + s * K + k, is_half);
            put(sum * factor, mixed, to + k, is_half);
        }
    }
}

/* gated = silu(gate) * up, in place of gate, `width` values of one row. */
static void gated(const float *gate, const float *up, int64_t width, int is_half, void *out) {
    int64_t i = 0;
    for (; i + LANES <= width; i += LANES) {
        vector x = *(const vector *)(gate + i), value = x / (1.0f + exponential(-x)) * *(const vector *)(up + i);
        for (int lane = 0; lane < LANES; lane++) put(value[lane], out, i + lane, is_half);
    }
    for (; i < width; i++) put(gate[i] / (1.0f + expf(-gate[i])) * up[i], out, i, is_half);
}

/* Floats of working space that `danlu_decode` needs for `rows` rows. */
int64_t danlu_decode_space(const Model *m, int64_t rows) {
    int64_t queries = m->heads * m->head_width, pairs = m->kv_heads * m->head_width;
    int64_t widest = m->width > queries ? m->width : queries;
    if (m->mlp_width > widest) widest = m->mlp_width;
    return rows * (queries + 2 * pairs + 2 * m->mlp_width + widest + m->head_width) + m->threads * (m->places + LANES);
}

#ifdef _OPENMP
#include <omp.h>
#else
static int omp_get_thread_num(void) { return 0; }
#endif

/* x (rows, D) fp32 becomes the hidden states after the final norm; see the top of the file. */
void danlu_decode(const Model *m, int64_t rows, float *x, const int64_t *slots, const int64_t *positions, float *space) {
    int64_t D = m->width, queries = m->heads * m->head_width, pairs = m->kv_heads * m->head_width;
    int64_t share = queries / m->kv_heads;
    int is_half = (int)m->is_half;
    float *query = space, *key = query + rows * queries, *value = key + rows * pairs, *gate = value + rows * pairs;
    float *up = gate + rows * m->mlp_width, *scores = up + rows * m->mlp_width;
    float *tables = scores + m->threads * (m->places + LANES);
    void *narrowed = tables + rows * m->head_width; /* what a product reads, in the weights' dtype */
    int64_t size = is_half ? 2 : 4;
#pragma omp parallel num_threads((int)m->threads)
    {
        float *own = scores + omp_get_thread_num() * (m->places + LANES);
#pragma omp for schedule(static)
        for (int64_t r = 0; r < rows; r++)
            if (m->frequencies) turns(m->frequencies, m->head_width / 2, positions[r], tables + r * m->head_width);
        for (int64_t index = 0; index < m->layers; index++) {
            const Layer *layer = m->layer + index;
#pragma omp for schedule(static)
            for (int64_t r = 0; r < rows; r++)
                norm(x + r * D, layer->attention_norm, D, m->epsilon, is_half, (char *)narrowed + r * D * size, 0);
            linear(layer->query, layer->query_bias, D, queries, narrowed, rows, is_half, 0, query, queries);
            linear(layer->key, layer->key_bias, D, pairs, narrowed, rows, is_half, 0, key, pairs);
            linear(layer->value, layer->value_bias, D, pairs, narrowed, rows, is_half, 0, value, pairs);
#pragma omp barrier
#pragma omp for schedule(static)
            for (int64_t job = 0; job < rows * m->kv_heads; job++) {
                int64_t r = job / m->kv_heads, group = job % m->kv_heads;
                attend(m, layer, group, slots[r], positions[r], tables + r * m->head_width, query + r * queries + group * share,
                       key + r * pairs + group * m->head_width, value + r * pairs + group * m->head_width, own,
                       (char *)narrowed + r * queries * size);
            }
            linear(layer->output, 0, queries, D, narrowed, rows, is_half, 1, x, D);
#pragma omp barrier
#pragma omp for schedule(static)
            for (int64_t r = 0; r < rows; r++)
                norm(x + r * D, layer->mlp_norm, D, m->epsilon, is_half, (char *)narrowed + r * D * size, 0);
            linear(layer->gate, 0, D, m->mlp_width, narrowed, rows, is_half, 0, gate, m->mlp_width);
            linear(layer->up, 0, D, m->mlp_width, narrowed, rows, is_half, 0, up, m->mlp_width);
#pragma omp barrier
#pragma omp for schedule(static)
            for (int64_t r = 0; r < rows; r++)
                gated(gate + r * m->mlp_width, up + r * m->mlp_width, m->mlp_width, is_half,
                      (char *)narrowed + r * m->mlp_width * size);
            linear(layer->down, 0, m->mlp_width, D, narrowed, rows, is_half, 1, x, D);
#pragma omp barrier
        }
#pragma omp for schedule(static)
        for (int64_t r = 0; r < rows; r++) norm(x + r * D, m->norm, D, m->epsilon, is_half, x + r * D, 1);
    }
}

/* out (rows, outputs) fp32 = x weight^T for few rows; x and weight in fp32, or both in bf16. */
void danlu_linear(const void *weight, int64_t inputs, int64_t outputs, const void *x, int64_t rows, int64_t is_half,
                  int64_t threads, float *out) {
#pragma omp parallel num_threads((int)threads)
    linear(weight, 0, inputs, outputs, x, rows, (int)is_half, 0, out, outputs);
}
