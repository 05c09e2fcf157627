// SPDX-License-Identifier: Apache-2.0

package canary

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
)

// amd64 is: fd = openat(AT_FDCWD, argv[1], O_RDONLY); read(fd, below the stack, 1);
// err = openat(AT_FDCWD, argv[2], O_RDONLY); exit_group(err < 0 ? -err : 0).
func amd64() []byte {
	return []byte{
		0x48, 0x8b, 0x74, 0x24, 0x10, // mov rsi, [rsp+16]
		0xbf, 0x9c, 0xff, 0xff, 0xff, // mov edi, -100
		0x31, 0xd2, // xor edx, edx
		0xb8, 0x01, 0x01, 0x00, 0x00, // mov eax, 257
		0x0f, 0x05, // syscall
		0x89, 0xc7, // mov edi, eax
		0x48, 0x8d, 0x74, 0x24, 0xf8, // lea rsi, [rsp-8]
		0xba, 0x01, 0x00, 0x00, 0x00, // mov edx, 1
		0x31, 0xc0, // xor eax, eax
		0x0f, 0x05, // syscall
		0x48, 0x8b, 0x74, 0x24, 0x18, // mov rsi, [rsp+24]
		0xbf, 0x9c, 0xff, 0xff, 0xff, // mov edi, -100
		0x31, 0xd2, // xor edx, edx
		0xb8, 0x01, 0x01, 0x00, 0x00, // mov eax, 257
		0x0f, 0x05, // syscall
		0x31, 0xff, // xor edi, edi
		0x85, 0xc0, // test eax, eax
		0x79, 0x04, // jns over the next two
		0x89, 0xc7, // mov edi, eax
		0xf7, 0xdf, // neg edi
		0xb8, 0xe7, 0x00, 0x00, 0x00, // mov eax, 231
		0x0f, 0x05, // syscall
	}
}

// arm64 is the same.
func arm64() []byte {
	const svc, atFdcwd, openat, noFlags = 0xd4000001, 0x92800c60, 0xd2800708, 0xd2800002
	var code []byte
	for _, instruction := range []uint32{
		0xf9400be1, // ldr x1, [sp, #16]
		atFdcwd,    // mov x0, #-100
		noFlags,    // mov x2, #0
		openat,     // mov x8, #56
		svc,
		0xd10043e1, // sub x1, sp, #16
		0xd2800022, // mov x2, #1
		0xd28007e8, // mov x8, #63
		svc,
		0xf9400fe1, // ldr x1, [sp, #24]
		atFdcwd, noFlags, openat, svc,
		0xf100001f, // cmp x0, #0
		0xda80a7e0, // csneg x0, xzr, x0, ge
		0xd2800bc8, // mov x8, #94
		svc,
	} {
		code = binary.LittleEndian.AppendUint32(code, instruction)
	}
	return code
}

// program is the canary's as an executable file that needs no other. It is written
// in instructions because a container then runs one exec and one act and nothing else,
// and because no compiler is on the host.
func program(goarch string) ([]byte, error) {
	var machine elf.Machine
	var code []byte
	switch goarch {
	case "amd64":
		machine, code = elf.EM_X86_64, amd64()
	case "arm64":
		machine, code = elf.EM_AARCH64, arm64()
	default:
		return nil, fmt.Errorf("there is no canary for %s", goarch)
	}
	const base, headers, segment, page = 0x400000, 64, 56, 0x10000
	size := uint64(headers + segment + len(code))
	header := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{
			0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT),
		},
		Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
		Entry: base + headers + segment, Phoff: headers, Ehsize: headers, Phentsize: segment, Phnum: 1,
	}
	load := elf.Prog64{
		Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: base, Paddr: base,
		Filesz: size, Memsz: size, Align: page,
	}
	var file bytes.Buffer
	// Writing fixed structs to memory does not fail.
	_ = binary.Write(&file, binary.LittleEndian, header)
	_ = binary.Write(&file, binary.LittleEndian, load)
	file.Write(code)
	return file.Bytes(), nil
}
