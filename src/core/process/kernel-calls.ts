/*
 * The system calls that a program in the sandbox does not get: a filter of seccomp(2) in classic BPF. It takes what reaches
 * around the namespaces (keys of the user; sockets of families that have no network namespace, such as AF_VSOCK to the host
 * of a virtual machine) and what only few programs need although it often had holes. Nested sandboxes
 * (user namespaces, mount(2), seccomp, Landlock) and debuggers (ptrace of the sandbox's own processes) keep working.
 */

type Instruction = readonly [code: number, ifTrue: number, ifFalse: number, value: number];

interface Numbers {
  /** AUDIT_ARCH_* of linux/audit.h. */
  readonly arch: number;
  /** add_key, request_key, keyctl, perf_event_open, bpf, userfaultfd, and what makes sockets by a pointer that no filter can read. */
  readonly refused: readonly number[];
  readonly socket: number;
  readonly socketpair: number;
  readonly ioctl: number;
}

/** From asm/unistd.h, by `process.arch`: the processor's own calls, then those of its programs of 32 bits. */
const processors: Readonly<Record<string, readonly Numbers[]>> = {
  x64: [
    {
      arch: 0xc000_003e,
      refused: [248, 249, 250, 298, 321, 323],
      ...{ socket: 41, socketpair: 53, ioctl: 16 },
    },
    {
      arch: 0x4000_0003,
      refused: [286, 287, 288, 336, 357, 374, 102],
      ...{ socket: 359, socketpair: 360, ioctl: 54 },
    },
  ],
  arm64: [
    {
      arch: 0xc000_00b7,
      refused: [217, 218, 219, 241, 280, 282],
      ...{ socket: 198, socketpair: 199, ioctl: 29 },
    },
    {
      arch: 0x4000_0028,
      refused: [309, 310, 311, 364, 386, 388],
      ...{ socket: 281, socketpair: 288, ioctl: 54 },
    },
  ],
};

const allowed: Instruction = [0x06, 0, 0, 0x7fff_0000];
const refusedWith = (errno: number): Instruction => [0x06, 0, 0, 0x0005_0000 | errno];
const [notPermitted, noCall, noFamily] = [1, 38, 97].map(refusedWith) as [
  Instruction,
  Instruction,
  Instruction,
];
/** Offsets in `struct seccomp_data`; of an argument its lower half, which is all that the calls below read. */
const [number, arch, firstArgument, secondArgument, thirdArgument] = [0, 4, 16, 24, 32] as const;
const load = (offset: number): Instruction => [0x20, 0, 0, offset];
const when = (value: number, then: readonly Instruction[]): readonly Instruction[] => [
  [0x15, 0, then.length, value],
  ...then,
];
const from = (value: number, then: readonly Instruction[]): readonly Instruction[] => [
  [0x35, 0, then.length, value],
  ...then,
];

const [unix, inet, inet6, netlink] = [1, 2, 10, 16] as const;
/** NETLINK_XFRM and NETLINK_NETFILTER. */
const refusedNetlinks = [6, 12];
/** TIOCSTI and TIOCLINUX write to the input of a terminal. */
const terminalInput = [0x5412, 0x541c];

/**
 * The numbers from 424 are the same on every processor: io_uring (425 to 427), which does without calls what is refused here,
 * the newer calls to mount (428 to 433, 442, 467), without which programs use mount(2). Calls of x32 begin at 2^30.
 */
const everywhere: readonly Instruction[] = [
  ...from(0x4000_0000, [noCall]),
  ...from(425, [[0x25, 1, 0, 433], noCall]),
  ...[442, 467].flatMap((call) => when(call, [noCall])),
];

function callsOf({ refused, socket, socketpair, ioctl }: Omit<Numbers, "arch">) {
  return [
    load(number),
    ...everywhere,
    ...refused.flatMap((call) => when(call, [noCall])),
    ...when(socket, [
      load(firstArgument),
      ...[unix, inet, inet6].flatMap((family) => when(family, [allowed])),
      ...when(netlink, [
        load(thirdArgument),
        ...refusedNetlinks.flatMap((protocol) => when(protocol, [noFamily])),
        allowed,
      ]),
      noFamily,
    ]),
    ...when(socketpair, [load(firstArgument), ...when(unix, [allowed]), noFamily]),
    ...when(ioctl, [
      load(secondArgument),
      ...terminalInput.flatMap((request) => when(request, [notPermitted])),
    ]),
    allowed,
  ];
}

/**
 * The filter as the kernel reads it (an array of `struct sock_filter`, little-endian); null on a processor whose numbers are
 * not known here.
 */
export function callFilter(processor: string = process.arch): Buffer | null {
  const numbers = processors[processor];
  if (numbers === undefined) return null;
  const program = [
    load(arch),
    ...numbers.flatMap((one) => when(one.arch, callsOf(one))),
    // Calls of another processor than these: there are none.
    noCall,
  ];
  const bytes = Buffer.alloc(program.length * 8);
  for (const [index, [code, ifTrue, ifFalse, value]] of program.entries()) {
    bytes.writeUInt16LE(code, index * 8);
    bytes.writeUInt8(ifTrue, index * 8 + 2);
    bytes.writeUInt8(ifFalse, index * 8 + 3);
    bytes.writeUInt32LE(value, index * 8 + 4);
  }
  return bytes;
}

const filter = callFilter();
const escaped = [...(filter ?? [])].map((byte) => `\\${byte.toString(8)}`).join("");
const file = "9";

/**
 * Words in front of `bwrap`. They close what the server itself inherited as an open file, which Node passes on to every
 * program, and open the filter as file 9; `-p`: without the start-up file and the functions of the environment.
 */
export const opensFilter: readonly string[] = [
  ...["bash", "-pc"],
  [
    `for fd in /proc/self/fd/*; do fd=\${fd##*/}; [[ $fd == [0-9]* ]] && ((fd > 2)) && eval "exec $fd>&-"; done`,
    ...(filter === null ? [] : [`exec ${file}< <(printf '${escaped}')`]),
    'exec "$@"',
  ].join("\n"),
  "bash",
];
/** The argument of `bwrap` that puts the filter on every process of the sandbox, its own first one too. */
export const readsFilter: readonly string[] = filter === null ? [] : ["--seccomp", file];
