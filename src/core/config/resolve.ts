import { envLayer } from "./env-layer.ts";
import {
  type Layer,
  mergeLayers,
  normalLayers,
  type Origin,
  originsOf,
  refusedKeysIn,
} from "./layers.ts";
import { invalidConfig, parseWritten, type Written } from "./schema.ts";
import { warningsOf, withoutStrangers } from "./unknown-keys.ts";

/** Options of the command line that are configuration. */
export interface ConfigFlags {
  readonly port?: number;
  readonly host?: string;
}

/** Everything a configuration is made of; later ones win. */
export interface ConfigSources {
  /** The front matter of the workflow file. */
  readonly workflow: Readonly<Record<string, unknown>>;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** What an operator put on top, in the written form. */
  readonly overlay?: Readonly<Record<string, unknown>>;
  readonly flags: ConfigFlags;
}

export interface Resolved {
  readonly written: Written;
  /** By dotted path, for every leaf of `written`. */
  readonly origins: Readonly<Record<string, Origin>>;
  /** What was said in vain, one line each. */
  readonly warnings: readonly string[];
}

/** Lays the sources on top of each other and checks the result. Throws `invalid_config`, naming every key at fault. */
export function resolveConfig(sources: ConfigSources): Resolved {
  const given = layersOf(sources);
  const refused = given.flatMap(({ values }) => refusedKeysIn(values));
  if (refused.length > 0) throw invalidConfig(refused);
  const layers = normalLayers(given);
  const meant = layers.map(withoutStrangers);
  const written = parseWritten(mergeLayers(meant));
  return { written, origins: originsOf(written, meant), warnings: layers.flatMap(warningsOf) };
}

function layersOf({ workflow, env, overlay, flags }: ConfigSources): readonly Layer[] {
  const { port = null, host = null } = flags;
  return [
    { origin: "workflow", values: workflow },
    envLayer(env),
    { origin: "overlay", values: overlay ?? {} },
    { origin: "flag", values: { server: { port, host } } },
  ];
}
