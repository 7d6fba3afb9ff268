/* The smallest of each of `functions` hashes over each text's shingles: what `minhash.signatures` computes in numpy.
 *
 * shingles: all texts' shingles, one text after the other; ends[t]: where those of text t end.
 * factors, offsets: function k is shingle * factors[k] + offsets[k] modulo 2^64.
 * out: (texts, functions). A text without shingles keeps the largest value.
 */
#include <stdint.h>

#define BLOCK 16 /* so many functions at a time stay in registers while the shingles pass by */

void danlu_minhash(const uint64_t *restrict shingles, const int64_t *restrict ends, int64_t texts,
                   const uint64_t *restrict factors, const uint64_t *restrict offsets, int64_t functions,
                   uint64_t *restrict out) {
    int64_t begin = 0;
    for (int64_t text = 0; text < texts; text++) {
        for (int64_t first = 0; first < functions; first += BLOCK) {
            const int64_t count = functions - first < BLOCK ? functions - first : BLOCK;
            uint64_t least[BLOCK], factor[BLOCK], offset[BLOCK];
            for (int64_t k = 0; k < BLOCK; k++) {
                least[k] = UINT64_MAX;
                factor[k] = k < count ? factors[first + k] : 0;
                offset[k] = k < count ? offsets[first + k] : 0;
            }
            for (int64_t i = begin; i < ends[text]; i++)
                for (int64_t k = 0; k < BLOCK; k++) {
                    const uint64_t value = shingles[i] * factor[k] + offset[k];
                    least[k] = value < least[k] ? value : least[k];
                }
            for (int64_t k = 0; k < count; k++) out[text * functions + first + k] = least[k];
        }
        begin = ends[text];
    }
}
