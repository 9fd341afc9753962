//go:build cgo

package twinhash

/*
#cgo noescape twinhash_one
#cgo nocallback twinhash_one
#cgo noescape twinhash_two
#cgo nocallback twinhash_two

#include <cpuid.h>
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

static int twinhash_supported(void)
{
	unsigned int a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSSE3) || !(c & bit_SSE4_1))
		return 0;
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
}

#define HARDWARE __attribute__((target("sha,ssse3,sse4.1")))
#define INLINE HARDWARE inline __attribute__((always_inline))

static const uint32_t constants[64] __attribute__((aligned(16))) = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

// The instructions want the words of the state as ABEF and CDGH, the highest first.
struct lane { __m128i abef, cdgh, before_abef, before_cdgh, w[4]; };

static INLINE void load(struct lane *l, const uint32_t *state)
{
	__m128i abcd = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0x1b);
	__m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1b);

	l->abef = _mm_unpackhi_epi64(efgh, abcd);
	l->cdgh = _mm_unpacklo_epi64(efgh, abcd);
}

static INLINE void store(const struct lane *l, uint32_t *state)
{
	__m128i abcd = _mm_unpackhi_epi64(l->cdgh, l->abef);
	__m128i efgh = _mm_unpacklo_epi64(l->cdgh, l->abef);

	_mm_storeu_si128((__m128i *)state, _mm_shuffle_epi32(abcd, 0x1b));
	_mm_storeu_si128((__m128i *)(state + 4), _mm_shuffle_epi32(efgh, 0x1b));
}

static INLINE void begin(struct lane *l, const uint8_t *block)
{
	const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
	int i;

	l->before_abef = l->abef;
	l->before_cdgh = l->cdgh;
#pragma GCC unroll 4
	for (i = 0; i < 4; i++)
		l->w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(block + 16 * i)), big_endian);
}

// Four of the 64 rounds, and the words of the message schedule that are wanted 16 rounds later.
static INLINE void rounds(struct lane *l, int n)
{
	__m128i *a = &l->w[n % 4], *b = &l->w[(n + 1) % 4], *c = &l->w[(n + 2) % 4], *d = &l->w[(n + 3) % 4];
	__m128i wk = _mm_add_epi32(*a, _mm_load_si128((const __m128i *)(constants + 4 * n)));

	l->cdgh = _mm_sha256rnds2_epu32(l->cdgh, l->abef, wk);
	l->abef = _mm_sha256rnds2_epu32(l->abef, l->cdgh, _mm_shuffle_epi32(wk, 0x0e));
	if (n < 12)
		*a = _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(*a, *b), _mm_alignr_epi8(*d, *c, 4)), *d);
}

static INLINE void end(struct lane *l)
{
	l->abef = _mm_add_epi32(l->abef, l->before_abef);
	l->cdgh = _mm_add_epi32(l->cdgh, l->before_cdgh);
}

static HARDWARE void twinhash_one(uint32_t *state, const uint8_t *p, size_t n)
{
	struct lane l;
	int i;

	load(&l, state);
	for (; n > 0; n--, p += 64) {
		begin(&l, p);
#pragma GCC unroll 16
		for (i = 0; i < 16; i++)
			rounds(&l, i);
		end(&l);
	}
	store(&l, state);
}

static HARDWARE void twinhash_two(uint32_t *state, const uint8_t *p, uint32_t *state2, const uint8_t *p2, size_t n)
{
	struct lane l, l2;
	int i;

	load(&l, state);
	load(&l2, state2);
	for (; n > 0; n--, p += 64, p2 += 64) {
		begin(&l, p);
		begin(&l2, p2);
#pragma GCC unroll 16
		for (i = 0; i < 16; i++) {
			rounds(&l, i);
			rounds(&l2, i);
		}
		end(&l);
		end(&l2);
	}
	store(&l, state);
	store(&l2, state2);
}
*/
import "C"

import "unsafe"

// accelerated: without the instructions Go's own is as fast.
var accelerated = C.twinhash_supported() != 0

// blocks takes whole blocks.
func blocks(state *[8]uint32, p []byte) {
	C.twinhash_one((*C.uint32_t)(&state[0]), (*C.uint8_t)(unsafe.SliceData(p)), C.size_t(len(p)/blockSize))
}

// twoBlocks takes as many whole blocks for one as for the other.
func twoBlocks(state *[8]uint32, p []byte, state2 *[8]uint32, p2 []byte) {
	C.twinhash_two((*C.uint32_t)(&state[0]), (*C.uint8_t)(unsafe.SliceData(p)),
		(*C.uint32_t)(&state2[0]), (*C.uint8_t)(unsafe.SliceData(p2)), C.size_t(len(p)/blockSize))
}
