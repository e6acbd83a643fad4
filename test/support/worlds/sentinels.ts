import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Certificate } from "../makers/certificate.ts";
import { type EngineServer, freePort, RedisServer, type Site, thisMachine } from "./fleet.ts";
import { eventually } from "./symphony.ts";

/** Two need escaping in a URL, and all are different. */
const passwords = { servers: "of-the-servers", user: "of/the@user", sentinels: "of:the?sentinels" };
const quorum = 2;

interface Sentinel {
  readonly host: string;
  readonly port: number;
  child: ChildProcess | null;
}

interface SentinelsPlace {
  readonly site: Site;
  /** Of the master, of the replica, and of the sentinels. */
  readonly hosts: readonly string[];
  /** The rights of the user `symphony`, as Redis writes them. */
  readonly rights: string;
  /** All connections use TLS. */
  readonly certificate: Certificate | null;
}

/** A master, its replica and three sentinels, each a redis-server. Passwords stand between all of them. */
export class Sentinels implements EngineServer {
  readonly first: RedisServer;
  readonly second: RedisServer;
  readonly #dir: string;
  readonly #site: Site;
  readonly #tls: readonly (readonly [string, string])[];
  readonly #all: readonly Sentinel[];

  private constructor(
    dir: string,
    [first, second]: readonly [RedisServer, RedisServer],
    {
      site,
      all,
      tls,
    }: { site: Site; all: readonly Sentinel[]; tls: readonly (readonly [string, string])[] },
  ) {
    this.first = first;
    this.second = second;
    this.#dir = dir;
    this.#site = site;
    this.#tls = tls;
    this.#all = all;
  }

  static async start({
    site = thisMachine,
    hosts: [one = "", two = "", ...three] = ["engine", "engine", "engine", "engine", "engine"],
    rights = "~* +@all",
    certificate = null,
  }: Partial<SentinelsPlace> = {}): Promise<Sentinels> {
    const tls: readonly (readonly [string, string])[] = certificate
      ? [
          ["tls-cert-file", certificate.path],
          ["tls-key-file", certificate.keyPath],
          ["tls-ca-cert-file", certificate.path],
          ["tls-auth-clients", "no"],
          ["tls-replication", "yes"],
        ]
      : [];
    const all = [
      ...["--requirepass", passwords.servers, "--masterauth", passwords.servers],
      ...["--user", "symphony", "on", `>${passwords.user}`, ...rights.split(" ")],
      ...["--repl-diskless-sync-delay", "0"],
      ...tls.flatMap(([name, value]) => [`--${name}`, value]),
    ];
    const first = await RedisServer.at({ site, host: one }, ...all);
    const replica = ["--replicaof", first.address, String(first.port)];
    const second = await RedisServer.at({ site, host: two }, ...all, ...replica);
    await eventually("the replica follows", async () =>
      /master_link_status:up/.test(second.cli("info", "replication")),
    );
    const dir = await mkdtemp(join(tmpdir(), "symphony-sentinels-"));
    const sentinels: Sentinel[] = [];
    for (const host of three) sentinels.push({ host, port: await freePort(), child: null });
    const made = new Sentinels(dir, [first, second], { site, all: sentinels, tls });
    for (const sentinel of sentinels) await made.#write(sentinel);
    await made.up();
    return made;
  }

  get url(): string {
    const hosts = this.#all.map(({ host, port }) => `${this.#site.address(host)}:${port}`);
    const [own, theirs] = [passwords.user, passwords.sentinels].map(encodeURIComponent);
    const scheme = this.#tls.length > 0 ? "rediss" : "redis";
    return `${scheme}+sentinel://symphony:${own}@${hosts.join(",")}/mymaster/0?sentinel_password=${theirs}`;
  }

  /** Every form in which a password may stand somewhere. */
  get secrets(): readonly string[] {
    return Object.values(passwords).flatMap((one) => [one, encodeURIComponent(one)]);
  }

  /** The port of the master, as most sentinels have it. */
  get master(): number {
    const found = this.#all.map((one) =>
      this.#cli(one, "sentinel", "get-master-addr-by-name", "mymaster").split("\n").at(-1),
    );
    const [port] = found.filter((one) => found.filter((other) => other === one).length >= quorum);
    return Number(port);
  }

  async up(): Promise<void> {
    for (const one of this.#all) {
      const config = join(this.#dir, String(one.port));
      const [program = "", ...args] = this.#site.on(one.host, ["redis-server", config]);
      one.child = spawn(program, [...args, "--sentinel"], { stdio: "ignore" });
    }
    await eventually("the sentinels know each other and the replica", async () =>
      this.#all.every((one) => {
        const text = this.#cli(one, "info", "sentinel");
        return text.includes(`slaves=1,sentinels=${this.#all.length}`);
      }),
    );
  }

  async down(): Promise<void> {
    await Promise.all(
      this.#all.map(async ({ child }) => {
        if (child === null || child.exitCode !== null || child.signalCode !== null) return;
        child.kill("SIGKILL");
        await once(child, "exit");
      }),
    );
  }

  /** A failover that a person asks for: both servers live. */
  failover(): void {
    const [one] = this.#all;
    if (one) this.#cli(one, "sentinel", "failover", "mymaster");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.down();
    await this.first[Symbol.asyncDispose]();
    await this.second[Symbol.asyncDispose]();
    await rm(this.#dir, { recursive: true, force: true });
  }

  #socket({ port }: Sentinel): string {
    return join(this.#dir, `${port}.socket`);
  }

  #cli(one: Sentinel, ...args: readonly string[]): string {
    try {
      const env = { ...process.env, REDISCLI_AUTH: passwords.sentinels };
      const all = ["-s", this.#socket(one), ...args];
      return execFileSync("redis-cli", all, { encoding: "utf8", stdio: "pipe", env }).trim();
    } catch {
      return "";
    }
  }

  async #write(one: Sentinel): Promise<void> {
    const lines = [
      ...(this.#tls.length > 0 ? ["port 0", `tls-port ${one.port}`] : [`port ${one.port}`]),
      ...this.#tls.map((pair) => pair.join(" ")),
      `bind ${this.#site.address(one.host)}`,
      "protected-mode no",
      `unixsocket ${this.#socket(one)}`,
      `dir ${this.#dir}`,
      `requirepass ${passwords.sentinels}`,
      `sentinel sentinel-pass ${passwords.sentinels}`,
      `sentinel monitor mymaster ${this.first.address} ${this.first.port} ${quorum}`,
      `sentinel auth-pass mymaster ${passwords.servers}`,
      "sentinel down-after-milliseconds mymaster 1500",
      "sentinel failover-timeout mymaster 6000",
    ];
    await writeFile(join(this.#dir, String(one.port)), `${lines.join("\n")}\n`);
  }
}
