/* What the quality rules want to know of a text, in one pass over its UTF-8 and a few over its words.

In: valid UTF-8, the kind of every character below KNOWN, the lengths of n-grams. Out: counts, in the order of `Measures` in measures.py, whose Python form says
the same more slowly and is the reference: tests hold both equal. Called by measures.py alone. Knows no limits. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SPACE, HAN, MARK, LETTER, DIGIT, SIGN };
enum { KNOWN = 0x20000, LAST_HAN = 0x3134f, APOSTROPHE = 0x2019, ELLIPSIS = 0x2026, FULL_STOP = 0x3002 };
enum {
  CHARACTERS, HAN_CHARACTERS, RUNS, LETTERED_RUNS, RUN_LETTERS, HASHES, ELLIPSES, LINES, BULLET_LINES, ELLIPSIS_LINES,
  ENDED_LINES, LINES_UNDER_30, LINES_UNDER_10, NEWLINES, REPEATED_LINES, REPEATED_LINE_CHARACTERS, PARAGRAPHS,
  REPEATED_PARAGRAPHS, REPEATED_PARAGRAPH_CHARACTERS, SENTENCES, BRACES, STOP_WORDS_EN, STOP_WORDS_ZH, WORD_CHARACTERS,
  NUM_MEASURES
};

typedef struct { uint64_t hash; int64_t length; } piece;
typedef struct { piece *items; int64_t size, room; } pieces;
typedef struct { uint64_t hash; int64_t weight; } slot;

static int push(pieces *list, uint64_t hash, int64_t length) {
  if (list->size == list->room) {
    int64_t room = list->room ? 2 * list->room : 256;
    piece *items = realloc(list->items, room * sizeof(piece));
    if (!items) return 0;
    list->items = items;
    list->room = room;
  }
  list->items[list->size++] = (piece){hash, length};
  return 1;
}

static inline uint64_t mixed(uint64_t x) {
  x ^= x >> 32; x *= 0xd6e8feb86659fd93ull; x ^= x >> 29; x *= 0xd6e8feb86659fd93ull; x ^= x >> 32;
  return x ? x : 1;
}

/* The character at `place`, which is moved behind it; beyond the end a line ends. */
static inline uint32_t next_character(const unsigned char *text, int64_t size, int64_t *place) {
  int64_t i = *place;
  uint32_t c = i < size ? text[i] : '\n';
  i++;
  if (c >= 0xf0) { c = (c & 7) << 18 | (text[i] & 63) << 12 | (text[i + 1] & 63) << 6 | (text[i + 2] & 63); i += 3; }
  else if (c >= 0xe0) { c = (c & 15) << 12 | (text[i] & 63) << 6 | (text[i + 1] & 63); i += 2; }
  else if (c >= 0xc0) { c = (c & 31) << 6 | (text[i] & 63); i++; }
  *place = i;
  return c;
}

static inline int kind_of(const unsigned char *kinds, uint32_t c) {
  return c < KNOWN ? kinds[c] : c <= LAST_HAN ? HAN : SIGN;
}

static inline int is_bullet(uint32_t c) {
  return c == '-' || c == '*' || c == 0x2022 || c == 0x2023 || c == 0xb7 || c == 0x25cf || c == 0x25cb || c == 0x25a0 ||
         c == 0x25a1 || c == 0x25aa || c == 0x25c6;
}

static inline int ends_line(uint32_t c) {
  return c == '.' || c == '!' || c == '?' || c == '"' || c == '\'' || c == 0x2026 || c == 0x201d || c == 0x2019 ||
         c == 0x3002 || c == 0xff01 || c == 0xff0e || c == 0xff1f || c == 0xff1b || c == 0x300d || c == 0x300f;
}

/* The bit of an English stop word in lower case, or 0. */
static inline unsigned stop_word(const unsigned char *word, int64_t size) {
  static const char *const words[] = {"the", "be", "to", "of", "and", "that", "have", "with"};
  if (size < 2 || size > 4) return 0;
  char small[5] = {0};
  for (int64_t i = 0; i < size; i++) small[i] = word[i] >= 'A' && word[i] <= 'Z' ? word[i] | 32 : word[i];
  for (unsigned i = 0; i < 8; i++) if (!strcmp(small, words[i])) return 1u << i;
  return 0;
}

static inline unsigned stop_character(uint32_t c) {
  switch (c) {
    case 0x7684: return 1; case 0x4e86: return 2; case 0x662f: return 4; case 0x5728: return 8; case 0x548c: return 16;
    case 0x6709: return 32; case 0x4e0d: return 64; case 0x8fd9: case 0x9019: return 128; case 0x4e5f: return 256;
    case 0x5c31: return 512; case 0x4e3a: case 0x70ba: case 0x7232: return 1024; case 0x4e0e: case 0x8207: return 2048;
    case 0x4e4b: return 4096; case 0x4ee5: return 8192; default: return 0;
  }
}

/* Pieces that came before: their number and their characters. */
static int repeated(const pieces *list, int64_t *count, int64_t *characters) {
  *count = *characters = 0;
  if (list->size < 2) return 1;
  uint64_t size = 4;
  while (size < 2 * (uint64_t)list->size) size *= 2;
  uint64_t *table = calloc(size, sizeof(uint64_t));
  if (!table) return 0;
  for (int64_t i = 0; i < list->size; i++) {
    uint64_t hash = list->items[i].hash, place = hash & (size - 1);
    while (table[place] && table[place] != hash) place = (place + 1) & (size - 1);
    if (table[place]) { (*count)++; *characters += list->items[i].length; }
    table[place] = hash;
  }
  free(table);
  return 1;
}

/* For each n, ascending: characters of the n-gram that weighs most, of those that occur twice or more; and characters of
   words in n-grams that came before. An n-gram can occur twice only where the shorter ones at its beginning and its end
   do, so each round looks at what the last one left over. The longer n-grams cover no more than the shorter: once a
   cover is `enough`, the rest is left at 0. */
static int grams(const pieces *words, const int64_t *ns, int64_t num_top, int64_t num_cover, int64_t enough,
                 int64_t *out) {
  const uint64_t base = 0x9e3779b97f4a7c15ull;
  int64_t num = words->size, last_n = 0, candidates = num;
  uint64_t size = 4;
  while (size < 2 * (uint64_t)num) size *= 2;
  slot *table = malloc(size * sizeof(slot));
  uint32_t *places = malloc((num + 1) * sizeof(uint32_t));
  uint8_t *twice = malloc(num + 1);
  uint64_t *hashes = malloc((num + 1) * sizeof(uint64_t));
  int64_t *ends = malloc((num + 1) * sizeof(int64_t));
  int fine = table && places && twice && hashes && ends;
  if (fine) {
    memset(twice, 1, num + 1);
    hashes[0] = ends[0] = 0;
    for (int64_t i = 0; i < num; i++) {
      hashes[i + 1] = hashes[i] * base + words->items[i].hash;
      ends[i + 1] = ends[i] + words->items[i].length;
    }
  }
  for (int64_t k = 0; fine && k < num_top + num_cover; k++) {
    int64_t n = ns[k], best = 0, covered = 0, covered_to = 0, shift = n - last_n, num_grams = num - n + 1;
    uint64_t leaving = 1, mask;
    for (int64_t i = 0; i < n; i++) leaving *= base;
    if (!last_n) shift = 0;
    for (size = 4; size < 2 * (uint64_t)candidates; size *= 2) {}
    mask = size - 1;
    memset(table, 0, size * sizeof(slot));
    for (int64_t i = 0; i < num_grams; i++) {
      if (!(twice[i] & twice[i + shift])) { places[i] = UINT32_MAX; continue; }
      int64_t length = ends[i + n] - ends[i];
      uint64_t key = mixed(hashes[i + n] - leaving * hashes[i]), place = key & mask;
      while (table[place].hash && table[place].hash != key) place = (place + 1) & mask;
      if (table[place].hash) {
        table[place].weight += length;
        if (table[place].weight > best) best = table[place].weight;
        int64_t from = i > covered_to ? i : covered_to;
        covered += ends[i + n] - ends[from];
        covered_to = i + n;
      } else {
        table[place] = (slot){key, length};
      }
      places[i] = (uint32_t)place;
    }
    candidates = 0;
    for (int64_t i = 0; i < num_grams; i++) {
      twice[i] = places[i] != UINT32_MAX && table[places[i]].weight > ends[i + n] - ends[i];
      candidates += twice[i];
    }
    last_n = n;
    out[k] = k < num_top ? best : covered;
    if (k >= num_top && covered <= enough) break;
  }
  free(table); free(places); free(twice); free(hashes); free(ends);
  return fine;
}

/* 0, or 1 where memory is short. `out` has NUM_MEASURES places and one for each of `ns`, all 0. */
int measure(const unsigned char *text, int64_t size, const unsigned char *kinds, const int64_t *ns, int64_t num_top,
            int64_t num_cover, double enough, int64_t *out) {
  pieces words = {0}, lines = {0}, paragraphs = {0};
  unsigned stops_en = 0, stops_zh = 0;
  uint64_t line_hash = 0, gap_hash = 0, paragraph_hash = 0, run_hash = 0;
  int64_t line_visible = 0, line_length = 0, gap = 0, paragraph_visible = 0, run_start = 0, run_length = 0, dots = 0;
  int run_open = 0, run_letters = 0, run_has_letter = 0, fine = 1, was_end = 0, kind = SPACE;
  uint32_t first = 0, last = 0;
  for (int64_t i = 0; i <= size && fine;) {
    int64_t start = i;
    uint32_t c = next_character(text, size, &i);
    int before = kind;
    kind = kind_of(kinds, c);
    if (c == APOSTROPHE && before == LETTER) {
      int64_t ahead = i;
      if (kind_of(kinds, next_character(text, size, &ahead)) == LETTER) kind = SIGN;
    }
    if (run_open && kind <= MARK) {
      out[RUNS]++;
      out[LETTERED_RUNS] += run_has_letter;
      out[RUN_LETTERS] += run_letters;
      out[WORD_CHARACTERS] += run_length;
      stops_en |= stop_word(text + run_start, start - run_start);
      fine &= push(&words, mixed(run_hash), run_length);
      run_open = 0;
    }
    if (was_end && kind == SPACE) out[SENTENCES]++;
    was_end = c == '.' || c == '!' || c == '?' || (was_end && (c == '"' || c == '\'' || c == ')'));
    if (kind == SPACE) {
      if (c != '\n') {
        if (line_visible) { gap++; gap_hash = (gap_hash + c) * 0x9e3779b97f4a7c15ull; }
        continue;
      }
      out[NEWLINES] += start < size;
      if (line_visible) {
        out[LINES]++;
        out[BULLET_LINES] += is_bullet(first);
        out[ELLIPSIS_LINES] += last == ELLIPSIS || dots >= 3;
        out[ENDED_LINES] += ends_line(last);
        out[LINES_UNDER_30] += line_length < 30;
        out[LINES_UNDER_10] += line_length < 10;
        fine &= push(&lines, mixed(line_hash), line_visible);
        paragraph_hash = (paragraph_hash ^ mixed(line_hash)) * 0x9e3779b97f4a7c15ull;
        paragraph_visible += line_visible;
      }
      if (paragraph_visible && (!line_visible || start >= size)) {
        fine &= push(&paragraphs, mixed(paragraph_hash), paragraph_visible);
        paragraph_hash = 0;
        paragraph_visible = 0;
      }
      line_hash = gap_hash = 0;
      line_visible = line_length = gap = 0;
      continue;
    }
    int goes_on = line_visible && !gap && c == last;
    dots = c == '.' || c == FULL_STOP ? (goes_on ? dots + 1 : 1) : 0;
    out[ELLIPSES] += dots == 3 || (c == ELLIPSIS && !goes_on);
    if (!line_visible) first = c;
    last = c;
    line_visible++;
    line_length += gap + 1;
    line_hash = (line_hash + gap_hash + c + 1) * 0x9e3779b97f4a7c15ull;
    gap = 0;
    gap_hash = 0;
    out[CHARACTERS]++;
    if (kind == HAN) {
      out[HAN_CHARACTERS]++;
      out[WORD_CHARACTERS]++;
      stops_zh |= stop_character(c);
      fine &= push(&words, mixed(c), 1);
    } else if (kind == MARK) {
      out[SENTENCES] += c == 0x3002 || c == 0xff01 || c == 0xff0e || c == 0xff1f;
    } else {
      if (!run_open) { run_open = 1; run_start = start; run_hash = run_length = run_letters = run_has_letter = 0; }
      run_hash = (run_hash + c + 1) * 0xff51afd7ed558ccdull;
      run_length++;
      run_letters += kind != SIGN;
      run_has_letter |= kind == LETTER;
      out[HASHES] += c == '#';
      out[BRACES] += c == '{';
    }
  }
  out[STOP_WORDS_EN] = __builtin_popcount(stops_en);
  out[STOP_WORDS_ZH] = __builtin_popcount(stops_zh);
  out[PARAGRAPHS] = paragraphs.size;
  fine = fine && repeated(&lines, out + REPEATED_LINES, out + REPEATED_LINE_CHARACTERS) &&
         repeated(&paragraphs, out + REPEATED_PARAGRAPHS, out + REPEATED_PARAGRAPH_CHARACTERS) &&
         grams(&words, ns, num_top, num_cover, (int64_t)(enough * (double)out[WORD_CHARACTERS]), out + NUM_MEASURES);
  free(words.items);
  free(lines.items);
  free(paragraphs.items);
  return !fine;
}
