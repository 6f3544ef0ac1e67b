/*
 * Kernels that last as long as they are told to count, as PTX that the driver itself compiles: no CUDA toolkit is needed.
 * Nothing is owned. A kernel's name says how long a simulated driver lets it last.
 * Parameters: `at`, two times of the device's clock go there when it is not 0 (begin and end); `n`, how far to count.
 */
#pragma once

/* What is counted is stored under a condition that nearly never holds, so that no compiler leaves the loop out. */
#define KERNEL(name)                                                \
	".visible .entry " name "(.param .u64 at, .param .u32 n)\n" \
	"{\n"                                                       \
	".reg .pred %p, %q;\n"                                      \
	".reg .u32 %n, %i, %x;\n"                                   \
	".reg .u64 %at, %t;\n"                                      \
	"ld.param.u64 %at, [at];\n"                                 \
	"ld.param.u32 %n, [n];\n"                                   \
	"setp.ne.u64 %q, %at, 0;\n"                                 \
	"mov.u64 %t, %globaltimer;\n"                               \
	"@%q st.global.u64 [%at], %t;\n"                            \
	"mov.u32 %i, 0;\n"                                          \
	"mov.u32 %x, %tid.x;\n"                                     \
	"again:\n"                                                  \
	"mad.lo.u32 %x, %x, 1664525, 1013904223;\n"                 \
	"add.u32 %i, %i, 1;\n"                                      \
	"setp.lt.u32 %p, %i, %n;\n"                                 \
	"@%p bra again;\n"                                          \
	"setp.eq.and.u32 %p, %x, 7, %q;\n"                          \
	"@%p st.global.u32 [%at+16], %x;\n"                         \
	"mov.u64 %t, %globaltimer;\n"                               \
	"@%q st.global.u64 [%at+8], %t;\n"                          \
	"ret;\n"                                                    \
	"}\n"

#define KERNELS                                                                              \
	".version 6.3\n.target sm_52\n.address_size 64\n" KERNEL("k_10us") KERNEL("k_100us") \
	        KERNEL("k_1ms")
