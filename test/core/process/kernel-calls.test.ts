import assert from "node:assert/strict";
import { test } from "node:test";
import { callFilter } from "../../../src/core/process/kernel-calls.ts";

const [x64, i386, arm64, arm] = [0xc000_003e, 0x4000_0003, 0xc000_00b7, 0x4000_0028] as const;
/** asm/unistd.h of each: what a test below calls. */
const numbers = {
  [x64]: {
    keyctl: 250,
    add_key: 248,
    bpf: 321,
    socket: 41,
    socketpair: 53,
    ioctl: 16,
    ptrace: 101,
  },
  [i386]: {
    keyctl: 288,
    add_key: 286,
    bpf: 357,
    socket: 359,
    socketpair: 360,
    ioctl: 54,
    ptrace: 26,
  },
  [arm64]: {
    keyctl: 219,
    add_key: 217,
    bpf: 280,
    socket: 198,
    socketpair: 199,
    ioctl: 29,
    ptrace: 117,
  },
  [arm]: {
    keyctl: 311,
    add_key: 309,
    bpf: 386,
    socket: 281,
    socketpair: 288,
    ioctl: 54,
    ptrace: 26,
  },
};

/** What the kernel's interpreter makes of a call: "allowed", or the error. */
function resultOf(program: Buffer, call: { arch: number; nr: number; args?: readonly number[] }) {
  const data = Buffer.alloc(64);
  data.writeUInt32LE(call.nr, 0);
  data.writeUInt32LE(call.arch, 4);
  for (const [index, value] of (call.args ?? []).entries())
    data.writeUInt32LE(value, 16 + index * 8);
  let [at, loaded] = [0, 0];
  for (;;) {
    const [code, value] = [program.readUInt16LE(at * 8), program.readUInt32LE(at * 8 + 4)];
    const [ifTrue, ifFalse] = [program.readUInt8(at * 8 + 2), program.readUInt8(at * 8 + 3)];
    if (code === 0x06) return value === 0x7fff_0000 ? "allowed" : value & 0xffff;
    if (code === 0x20) loaded = data.readUInt32LE(value);
    else if (code === 0x15) at += loaded === value ? ifTrue : ifFalse;
    else if (code === 0x35) at += loaded >= value ? ifTrue : ifFalse;
    else if (code === 0x25) at += loaded > value ? ifTrue : ifFalse;
    else assert.fail(`instruction ${at} has the code ${code}`);
    at += 1;
  }
}

const [notPermitted, noCall, noFamily] = [1, 38, 97];

for (const [processor, ...each] of [
  ["x64", x64, i386],
  ["arm64", arm64, arm],
] as const) {
  for (const arch of each) {
    test(`the filter of ${processor} decides about calls of ${arch.toString(16)}`, () => {
      const program = callFilter(processor);
      assert.ok(program);
      const of = (nr: number, ...args: readonly number[]) => resultOf(program, { arch, nr, args });
      const { keyctl, add_key, bpf, socket, socketpair, ioctl, ptrace } = numbers[arch];
      // io_uring_setup, open_tree, fspick, mount_setattr, open_tree_attr; x32.
      for (const nr of [keyctl, add_key, bpf, 425, 428, 433, 442, 467, 0x4000_0000 + 39]) {
        assert.equal(of(nr), noCall, String(nr));
      }
      // pidfd_send_signal, pidfd_open, clone3, openat2, landlock_create_ruleset.
      for (const nr of [ptrace, 424, 434, 435, 437, 444])
        assert.equal(of(nr), "allowed", String(nr));
      // AF_UNIX, AF_INET, AF_INET6; AF_NETLINK for routes and for the firewall.
      for (const family of [1, 2, 10]) assert.equal(of(socket, family, 1, 0), "allowed");
      assert.equal(of(socket, 16, 3, 0), "allowed");
      assert.equal(of(socket, 16, 3, 12), noFamily);
      // AF_PACKET, AF_RDS, AF_ALG, AF_VSOCK, AF_XDP.
      for (const family of [17, 21, 38, 40, 44]) assert.equal(of(socket, family, 1, 0), noFamily);
      assert.equal(of(socketpair, 1, 1, 0), "allowed");
      assert.equal(of(socketpair, 30, 1, 0), noFamily);
      assert.equal(of(ioctl, 0, 0x5412), notPermitted);
      assert.equal(of(ioctl, 0, 0x5413), "allowed");
    });
  }
}

test("calls of another processor are refused, and one that is not known here has no filter", () => {
  const program = callFilter("x64");
  assert.ok(program);
  assert.equal(resultOf(program, { arch: arm64, nr: 1 }), noCall);
  assert.equal(callFilter("riscv64"), null);
});
