#include "textflag.h"

// func markBlocks(text *byte, ends *uint64, blocks int) (high uint32)
//
// Of each 64 bytes, a comparison with the newline gives a bit a byte; all bytes together are
// or'ed, whose highest bits tell whether one is none of ASCII's.
TEXT ·markBlocks(SB), NOSPLIT, $0-28
	MOVQ         text+0(FP), SI
	MOVQ         ends+8(FP), DI
	MOVQ         blocks+16(FP), CX
	MOVL         $0x0a0a0a0a, AX
	MOVQ         AX, X0
	VPBROADCASTD X0, Y0
	VPXOR        Y1, Y1, Y1

block:
	VMOVDQU   (SI), Y2
	VMOVDQU   32(SI), Y3
	VPOR      Y2, Y1, Y1
	VPOR      Y3, Y1, Y1
	VPCMPEQB  Y0, Y2, Y2
	VPCMPEQB  Y0, Y3, Y3
	VPMOVMSKB Y2, AX
	VPMOVMSKB Y3, DX
	SHLQ      $32, DX
	ORQ       DX, AX
	MOVQ      AX, (DI)
	ADDQ      $64, SI
	ADDQ      $8, DI
	DECQ      CX
	JNZ       block

	VPMOVMSKB Y1, AX
	VZEROUPPER
	MOVL      AX, high+24(FP)
	RET
