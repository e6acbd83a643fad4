import { z } from "zod";
import { SymphonyError } from "../model/errors.ts";
import { bytesOf, section, size, solidText, text, wholeNumber } from "./agents.ts";

/** Attempts on other machines. */
export interface FleetConfig {
  /** The engine's URL, or `$NAME` of a secret that holds it; null: attempts run on this machine. */
  readonly url: string | null;
  /** A worker must have all of them. */
  readonly labels: readonly string[];
  /** The largest copy of a workspace that goes to a worker or comes back, bytes. */
  readonly maxCopyBytes: number;
  /** A shell script that makes each new copy on a worker ready; null: none. */
  readonly prepare: string | null;
  /** How long a worker may run agents after its last renewal, ms. */
  readonly leaseMs: number;
}

/** How long a lease may last, and lasts without a setting, ms. */
export const leaseRange = { shortest: 5_000, usual: 15_000, longest: 300_000 } as const;

const nameForm = /^\$([A-Za-z_]\w*)$/;

const engineUrl = text.refine(
  (value) =>
    nameForm.test(value) ||
    /^(rediss?:\/\/|rediss?\+(sentinel|cluster):\/\/(?!.*[?])|postgres(ql)?:\/\/([^@:/]+@)?)[^@]+$/.test(
      value,
    ),
  "must name a secret, as in $FLEET_URL, or be redis://host:port or postgres://user@host/database without a password",
);

export const fleetSection = section({
  url: engineUrl.nullable().default(null),
  labels: z.array(solidText, "must be a list").default([]),
  max_copy: size.default(64 * 1024 ** 2),
  prepare: text.nullable().default(null),
  lease_ms: wholeNumber
    .refine((ms) => ms >= leaseRange.shortest && ms <= leaseRange.longest, {
      error: `must be from ${leaseRange.shortest} to ${leaseRange.longest}`,
    })
    .default(leaseRange.usual),
});

export function fleetConfigOf(written: z.output<typeof fleetSection>): FleetConfig {
  const { url, labels, max_copy: maxCopy, prepare, lease_ms: leaseMs } = written;
  return {
    url,
    labels: [...new Set(labels.map((label) => label.trim()))],
    maxCopyBytes: bytesOf(maxCopy),
    prepare: prepare === null || prepare.trim() === "" ? null : prepare,
    leaseMs,
  };
}

/** The name of the secret that holds the engine's URL: no agent, hook or check gets it. */
export function fleetSecretNames({ url }: FleetConfig): readonly string[] {
  const name = nameForm.exec(url ?? "")?.[1];
  return name === undefined ? [] : [name];
}

/** What of an engine's URL no output may show: its passwords, as they are written there and as they are meant. */
export function passwordsIn(url: string): readonly string[] {
  const [, ofServers = ""] = /^rediss?\+\w+:\/\/[^@/?#:]*:([^@/?#]*)@/i.exec(url) ?? [];
  const [, ofSentinels = ""] = /[?&]sentinel_password=([^&#]*)/.exec(url) ?? [];
  const all = [URL.parse(url)?.password || ofServers, ofSentinels];
  return [...new Set(all.filter(Boolean).flatMap((written) => [written, meantBy(written)]))];
}

function meantBy(written: string): string {
  return Buffer.from(
    written.replaceAll(/%([0-9a-f]{2})/gi, (_, hex) =>
      String.fromCharCode(Number.parseInt(hex, 16)),
    ),
    "latin1",
  ).toString();
}

/** The engine's URL; null without a fleet. Throws `invalid_config` for a secret that is not there. */
export function engineUrlOf(
  fleet: FleetConfig,
  lookup: (name: string) => string | undefined,
): string | null {
  const [name] = fleetSecretNames(fleet);
  if (name === undefined) return fleet.url;
  const url = lookup(name);
  if (url !== undefined) return url;
  const message = `fleet.url names ${name}, which is neither a secret nor a variable`;
  throw new SymphonyError("invalid_config", message, { hint: `symphony secrets add ${name}` });
}
