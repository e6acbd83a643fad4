import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { chmodSync, chownSync, copyFileSync, globSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Certificate } from "../makers/certificate.ts";
import { type EngineServer, freePort } from "./fleet.ts";
import { eventually, killed } from "./symphony.ts";

/** Of the newest PostgreSQL of Debian here. */
const bin = globSync("/usr/lib/postgresql/*/bin").sort().at(-1) ?? "";

/** A real PostgreSQL on a free port, with an empty database. It refuses to run as root. */
export class PostgresServer implements EngineServer {
  readonly port: number;
  readonly #dir: string;
  readonly #user = ownUser();
  readonly #settings: Readonly<Record<string, string>> = {
    fsync: "off",
    listen_addresses: "127.0.0.1",
    unix_socket_directories: "",
  };
  #child: ChildProcess | null = null;

  private constructor(port: number, dir: string, settings: Readonly<Record<string, string>>) {
    this.#settings = { ...this.#settings, ...settings };
    this.port = port;
    this.#dir = dir;
  }

  /**
   * `settings`: others than the usual ones; without `fsync` it is quicker, and survives all but a crash of the machine. With a
   * certificate it has TLS.
   */
  static async start(
    settings: Readonly<Record<string, string>> = {},
    certificate: Certificate | null = null,
  ): Promise<PostgresServer> {
    const dir = await mkdtemp(join(tmpdir(), "symphony-postgres-"));
    const [ssl_cert_file, ssl_key_file] = [join(dir, "cert.pem"), join(dir, "key.pem")];
    const server = new PostgresServer(await freePort(), dir, {
      ...settings,
      ...(certificate && { ssl: "on", ssl_cert_file, ssl_key_file }),
    });
    const { uid, gid } = server.#user;
    if (certificate) {
      copyFileSync(certificate.path, ssl_cert_file);
      copyFileSync(certificate.keyPath, ssl_key_file);
      chmodSync(ssl_key_file, 0o600);
    }
    if (uid !== undefined && gid !== undefined)
      for (const path of [dir, ...(certificate ? [ssl_cert_file, ssl_key_file] : [])])
        chownSync(path, uid, gid);
    const how = ["-D", join(dir, "data"), "-U", "symphony", "-A", "trust", "-E", "UTF8"];
    execFileSync(join(bin, "initdb"), [...how, "--no-sync", "--no-instructions"], {
      ...{ ...server.#user, cwd: dir, stdio: "ignore" },
    });
    await server.up();
    server.sql("CREATE DATABASE fleet", "postgres");
    return server;
  }

  get url(): string {
    return `postgres://symphony@127.0.0.1:${this.port}/fleet`;
  }

  /** Again until it stays: processes of one that was killed hold its memory for a moment. */
  async up(): Promise<void> {
    const args = Object.entries(this.#settings).flatMap(([name, value]) => [
      "-c",
      `${name}=${value}`,
    ]);
    await eventually("PostgreSQL answers", async () => {
      if (this.#child === null || this.#child.exitCode !== null) {
        const all = ["-D", join(this.#dir, "data"), "-p", String(this.port), ...args];
        const how = { ...this.#user, cwd: this.#dir, stdio: "ignore" } as const;
        this.#child = spawn(join(bin, "postgres"), all, how);
      }
      return this.sql("SELECT 1", "postgres") === "1";
    });
  }

  /** As `kill -9` ends it. */
  async down(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    await killed(child);
  }

  /** What `psql` prints; empty when it does not answer. */
  sql(text: string, database = "fleet"): string {
    const url = `postgres://symphony@127.0.0.1:${this.port}/${database}`;
    try {
      const args = ["-X", "-At", "-v", "ON_ERROR_STOP=1", "-c", text, url];
      return execFileSync(join(bin, "psql"), args, { encoding: "utf8", stdio: "pipe" }).trim();
    } catch {
      return "";
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.down();
    await rm(this.#dir, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** That of Debian's package, when this process is root. */
function ownUser(): { uid?: number; gid?: number } {
  if (process.getuid?.() !== 0) return {};
  const id = (what: string) => Number(execFileSync("id", [what, "postgres"], { encoding: "utf8" }));
  return { uid: id("-u"), gid: id("-g") };
}
