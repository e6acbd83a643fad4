import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { isIP } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Certificate extends Disposable {
  readonly key: string;
  readonly cert: string;
  /** The certificate's file, for `NODE_EXTRA_CA_CERTS`. */
  readonly path: string;
  readonly keyPath: string;
}

/** A certificate that signs itself, for these names; null without openssl. */
export function certificate(...names: readonly string[]): Certificate | null {
  const dir = mkdtempSync(join(tmpdir(), "symphony-cert-"));
  const [keyFile, path] = [join(dir, "key.pem"), join(dir, "cert.pem")];
  const args = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
  const subject = [
    "-subj",
    "/CN=symphony test",
    "-addext",
    `subjectAltName=${names.map((name) => `${isIP(name) === 0 ? "DNS" : "IP"}:${name}`)}`,
  ];
  const files = ["-nodes", "-days", "2", "-keyout", keyFile, "-out", path];
  try {
    execFileSync("openssl", [...args, ...subject, ...files], { stdio: "ignore" });
  } catch {
    rmSync(dir, { recursive: true });
    return null;
  }
  return {
    key: readFileSync(keyFile, "utf8"),
    cert: readFileSync(path, "utf8"),
    path,
    keyPath: keyFile,
    [Symbol.dispose]: () => rmSync(dir, { recursive: true, force: true }),
  };
}
