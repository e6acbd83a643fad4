import { faults, type Mutant } from "./mutant.ts";

const way = "test/core/egress/egress.test.ts";
const addresses = "test/core/egress/addresses.test.ts";
const leftovers = "test/core/egress/leftovers.test.ts";
const cgroup = "test/core/process/cgroup.test.ts";
const seatbelt = "test/sandbox/seatbelt.test.ts";
const inSandbox = "test/sandbox/egress.test.ts";

/** Faults of the one way out of a sandbox. */
export const ofTheEgress: readonly Mutant[] = [
  ...faults(
    {
      file: "src/core/process/sandbox.ts",
      tests: ["test/sandbox/planted-logins.test.ts"],
      only: "are not readable for command at level safe",
    },
    [
      "sandbox: a socket in a shown directory is reached",
      "const sockets = await socketsIn([...systemDirs, ...fixed]);",
      "const sockets = await socketsIn(fixed.slice(fixed.length));",
    ],
  ),
  ...faults(
    {
      file: "src/core/outbound.ts",
      tests: ["test/core/outbound.test.ts"],
      only: "an answer that changes the protocol",
    },
    [
      "a redirect to another host takes a credential along",
      'const harmless = new Set(["accept",',
      'const harmless = new Set(["x-api-key", "accept",',
    ],
    [
      "THREAT-9: a redirect to another host takes every header along",
      "if (isAway && !harmless.has(name))",
      "if (isAway && name.length < 0)",
    ],
  ),
  ...faults(
    { file: "src/core/outbound.ts", tests: ["test/core/outbound.test.ts"] },
    [
      "S13: this machine is asked through a proxy",
      "if (isThisMachine(url.hostname) || isExcepted(",
      "if (isExcepted(",
    ],
    [
      "S13: the credential of a proxy is shown as it is sent",
      'return [proxy.password, password ?? "", token];',
      'return [proxy.password, password ?? ""];',
    ],
    ["redirects are followed without end", "hop <= maxHops", "hop >= 0"],
    [
      "an answer continues to come after its caller gave up",
      "outgoing.destroy(signal?.reason);",
      "",
    ],
    [
      "THREAT-9: a redirect is followed where none is meant to be",
      'if (redirect === "error") throw failed(new Error("unexpected redirect"));',
      "",
    ],
    [
      "an answer from outside has no limit",
      "bounded(response, { host: at.host, kind })",
      "((_none) => response)(bounded) ?? kind",
    ],
  ),
  ...faults(
    {
      file: "src/core/tracker/linear/client.ts",
      tests: ["test/core/tracker/linear/destination.test.ts"],
    },
    [
      "THREAT-9: a name that leads inside when it is asked gets the key",
      "await requireReachable(this.#options.endpoint);",
      "",
    ],
  ),
  ...faults(
    {
      file: "src/core/tracker/linear/oauth.ts",
      tests: ["test/core/tracker/linear/destination.test.ts"],
    },
    ["THREAT-9: the secret of an app is sent inside", "await requireReachable(url);", ""],
  ),
  ...faults(
    {
      file: "src/core/process/kernel-calls.ts",
      tests: ["test/sandbox/bubblewrap.test.ts"],
      only: "THREAT-1",
    },
    [
      "THREAT-1: the sandbox has the keys of the user's session",
      "...refused.flatMap((call) => when(call, [noCall])),",
      "...refused.slice(3).flatMap((call) => when(call, [noCall])),",
    ],
    [
      "THREAT-1: the sandbox has the open files of who started the server",
      "((fd > 2))",
      "((fd > 99))",
    ],
  ),
  ...faults(
    { file: "src/core/egress/provider.ts", tests: [way], only: "without the token" },
    [
      "way out: the way to the provider opens without the token of the attempt",
      "if (!hasToken(request.headers, query, token)) {",
      'if (token === "") {',
    ],
    [
      "way out: the token in the address of a request goes on to the provider",
      "  if (!query.includes(token)) return query;\n",
      "  return query;\n",
    ],
  ),
  ...faults({ file: "src/core/egress/headers.ts", tests: [way], only: "without the token" }, [
    "way out: the beginning of a token opens the way",
    "return given.some((value) => timingSafeEqual(digest(value), digest(token)));",
    "return given.some((value) => value.startsWith(token));",
  ]),
  ...faults(
    { file: "src/core/egress/headers.ts", tests: [way], only: "the provider gets the key" },
    [
      "way out: the agent's own key reaches the provider next to the one of symphony",
      '[...credentials, "host", "accept-encoding", "cookie"]',
      '["host", "accept-encoding", "cookie"]',
    ],
    [
      "way out: headers of the connection are passed on",
      "if (hopByHop.has(key) || named.includes(key) || dropped.includes(key)) continue;",
      "if (dropped.includes(key)) continue;",
    ],
  ),
  ...faults(
    { file: "src/core/egress/provider.ts", tests: [way], only: "the provider gets the key" },
    [
      "way out: the agent chooses the host that the provider reads",
      '...["Host", upstream.host],',
      '...["Host", request.headers.host ?? upstream.host],',
    ],
    [
      "way out: an answer may be compressed, so that a repeated key is not found in it",
      '      ...["Accept-Encoding", "identity"],\n',
      "",
    ],
  ),
  ...faults(
    { file: "src/core/egress/provider.ts", tests: [way], only: "a provider that repeats the key" },
    [
      "way out: a key in the body of an answer reaches the agent",
      "else pipeline(answer, new Redacting(key), response, () => {});",
      "else pipeline(answer, response, () => {});",
    ],
    [
      "way out: a key in the headers of an answer reaches the agent",
      "headers.map((text) => withoutSecret(text, key)),",
      "headers,",
    ],
  ),
  ...faults({ file: "src/core/egress/hosts.ts", tests: [way], only: "a name of the list with" }, [
    "way out: the address behind an allowed name is not checked",
    "const address = found.find((one) => rules.reaches(one)) ?? null;",
    "const address = found[0] ?? null;",
  ]),
  ...faults({ file: "src/core/egress/hosts.ts", tests: [way], only: "at safe there is none" }, [
    "way out: hosts that agent.network does not name are reached",
    '  if (!rules.allows(target)) return refused("is not in agent.network");\n',
    "",
  ]),
  ...faults({ file: "src/core/egress/hosts.ts", tests: [way], only: "a host of the list" }, [
    "way out: a tunnel looks the name up again after the check",
    'netConnect({ host: address ?? "", port: target.port })',
    "netConnect({ host: target.host, port: target.port })",
  ]),
  ...faults({ file: "src/core/egress/hosts.ts", tests: [way], only: "plain http goes" }, [
    "way out: plain http looks the name up again after the check",
    "hostname: proxy === null ? (address ?? target.host) : target.host,",
    "hostname: target.host,",
  ]),
  ...faults({ file: "src/core/egress/egress.ts", tests: [way], only: "only the user sees" }, [
    "way out: connections outlive the way",
    "      for (const one of sockets) one.destroy();\n      await closed;\n",
    "      void closed;\n",
  ]),
  ...faults(
    { file: "src/core/egress/addresses.ts", tests: [addresses] },
    [
      "way out: an address of IPv4 in the form of IPv6 is another one",
      "if (high === undefined || low === undefined) return host;",
      "return host;",
    ],
    [
      "way out: the addresses of cloud metadata are reached",
      '"127.0.0.0/8", "169.254.0.0/16"]',
      '"127.0.0.0/8"]',
    ],
    [
      "way out: *.example.com also names notexample.com",
      "host.endsWith(name.slice(1))",
      "host.endsWith(name.slice(2))",
    ],
    [
      "way out: a name is reached at every port",
      "return fits && ports.includes(port);",
      "return fits;",
    ],
  ),
  ...faults({ file: "src/core/egress/leftovers.ts", tests: [leftovers] }, [
    "way out: the open way of another server is removed",
    ": await isAnswered(join(way, socketName), isYoung);",
    ": false;",
  ]),
  ...faults(
    {
      file: "src/core/agent/openai/client.ts",
      tests: ["test/core/agent/openai/provider.test.ts"],
      only: "a redirect",
    },
    [
      "way out: the key follows a redirect to another host",
      'const asked = { ...init, redirect: "error" } as RequestInit;',
      'const asked = { ...init, redirect: "follow" } as RequestInit;',
    ],
  ),
  ...faults(
    { file: "src/core/agent/way-out.ts", tests: [inSandbox], only: "reaches its model provider" },
    [
      "way out: the variable with the key is passed on to the program",
      "passthrough: passthrough.filter((name) => !replaced.includes(name)),\n    lines: [...(provider === null ? [] : providerLines(provider, at)), ...exported(proxies)],",
      "passthrough: [...passthrough, ...replaced],\n    lines: [],",
    ],
    [
      "way out: at safe the sandbox shares the network of the machine",
      'if (spec.level === "safe") return provider !== null;',
      'if (spec.level === "safe") return false;',
    ],
  ),
  ...faults({ file: "src/core/process/cgroup.ts", tests: [cgroup], only: "THREAT-18: where" }, [
    "cgroup: an agent's group has no limit of processes",
    'if (maxTasks !== null && controllers.includes("pids"))',
    'if (maxTasks === 0 && controllers.includes("pids"))',
  ]),
  ...faults(
    { file: "src/core/process/seatbelt.ts", tests: [seatbelt], only: "THREAT-1: on macOS" },
    [
      "seatbelt: a home inside of what is shown is shown with it",
      "...[...homes, ...hidden.filter((path) => !named.has(path))].map((at) => ({",
      "...hidden.filter((path) => !named.has(path)).map((at) => ({",
    ],
    [
      "seatbelt: the configuration of git in a workspace can be written",
      "...guarded.map((path) =>",
      "...guarded.slice(0, 0).map((path) =>",
    ],
    [
      "seatbelt: with one way out the whole network is open at networked",
      'level === "networked" && port === undefined ? [network]',
      'level === "networked" ? [network]',
    ],
    [
      "seatbelt: what is hidden can be moved to another path with its directory",
      "closed.filter((one) => one !== root && isInside(one, root))",
      "closed.slice(0, 0)",
    ],
  ),
];
