import { z } from "zod";
import {
  type Approvals,
  agentSectionOf,
  agentsSection,
  brakesSection,
  map,
  oneOf,
  positive,
  section,
  solidText,
  text,
  texts,
  usageSection,
  wholeNumber,
} from "./agents.ts";
import { deliverySection } from "./delivery.ts";
import { fleetSection } from "./fleet.ts";
import { gitSection } from "./git.ts";
import { hostSection, storageSection } from "./host.ts";
import { notifySection } from "./notify.ts";
import { workerSection } from "./worker.ts";
import { workspaceSection } from "./workspace.ts";

/** The keys that name further files; they are read from files alone, before every other key. */
const chainKeys: readonly string[] = ["base_config", "prompts"];

export function isChainKey(path: string): boolean {
  return chainKeys.includes(path);
}

interface DefaultStates {
  readonly active: string[];
  readonly terminal: string[];
}

/** What the configuration needs to know of one kind of tracker. */
export interface TrackerSection {
  /** The default states (requirement L-2); null: a file has to name them. */
  readonly states: DefaultStates | null;
  /** Other ones that follow from the settings; null: those above. */
  statesFor?(provider: Readonly<Record<string, unknown>>): DefaultStates | null;
  /** The shortest `polling.interval_ms`, ms: a service meters requests, a directory does not. */
  readonly minPollMs: number;
  /** Keys of `tracker.provider` that older files write directly under `tracker` (requirement L-5). */
  readonly flatKeys: readonly string[];
  /** Keys of `tracker.provider` that the adapter reads; any other one is ignored with a warning. */
  readonly providerKeys: readonly string[];
  /** A `tracker` section for the documentation, without its kind. */
  readonly example: Readonly<Record<string, unknown>>;
}

/** The section that configures one kind of agent; its key in the file is the kind. */
export interface AgentSection<
  Settings extends object = object,
  Schema extends z.ZodObject = z.ZodObject,
> {
  readonly schema: Schema;
  /** What each key means. */
  readonly meanings: Readonly<Record<string, string>>;
  /** The section for the documentation. */
  readonly example: Readonly<Record<string, unknown>>;
  /** Keys whose maps are replaced as a whole by a later layer. */
  readonly wholeMaps?: readonly string[];
  /** The settings as the agent reads them. */
  settings(written: z.output<Schema>): Settings;
  /** What the section says for agents of every kind, and for hooks; the first section that has it is used. */
  forAll?(settings: Settings): ForAllAgents;
  /** The approvals that the section implies when `agent.approvals` is omitted; null: none. */
  approvals?(written: z.output<Schema>): Approvals | null;
  /** The section with the settings that follow from the approvals in force. */
  withApprovals?(written: z.output<Schema>, approvals: Approvals): z.output<Schema>;
}

/** Settings that hold for agents of every kind although one kind's section has them. */
export interface ForAllAgents {
  /** As `AgentConfig` has it. */
  readonly stallTimeoutMs: number;
  /** Names of environment variables that hooks may see in addition to the built-in ones. */
  readonly envPassthrough: readonly string[];
}

/** The kinds of tracker and of agent that a configuration can choose from; the first agent is the default. */
export interface ConfigKinds {
  readonly trackers: readonly { readonly kind: string; readonly section: TrackerSection }[];
  readonly agents: readonly { readonly kind: string; readonly section: AgentSection }[];
}

/** The sections of a configuration with these kinds. */
export interface Sections extends ConfigKinds {
  /** The written form with its defaults. `null` must be removed before; see `withoutNulls`. */
  readonly schema: WrittenSchema;
  /** Names of the sections. */
  readonly names: ReadonlySet<string>;
  /** Every known dotted key with the type of its value. */
  readonly keys: ReadonlyMap<string, z.ZodType>;
  /** Dotted keys whose maps are replaced as a whole: a mixture of two such maps would be neither. */
  readonly wholeMaps: ReadonlySet<string>;
}

export type WrittenSchema = ReturnType<typeof schemaOf>;

/** The sections of a configuration that chooses from `kinds`. Unknown keys are kept and ignored. */
export function sectionsOf(kinds: ConfigKinds): Sections {
  const { trackers, agents } = kinds;
  const schema = schemaOf(agents);
  const { agents: _named, notify: _rules, ...sections } = schema.shape;
  const shapes = Object.entries(sections).map(
    ([name, written]) => [name, unwrapped(written).shape] as const,
  );
  return {
    trackers,
    agents,
    schema,
    names: new Set([...shapes.map(([name]) => name), "agents", "notify"]),
    keys: new Map(
      shapes.flatMap(([name, shape]) =>
        Object.entries(shape).map(([key, field]) => [`${name}.${key}`, field as z.ZodType]),
      ),
    ),
    wholeMaps: new Set(
      agents.flatMap(({ kind, section: { wholeMaps = [] } }) =>
        wholeMaps.map((key) => `${kind}.${key}`),
      ),
    ),
  };
}

const script = text.nullable().default(null);

/** Unlike in `required_labels`, a blank label is an error. */
const labels = z.array(solidText, "must be a list").default([]);
/** An unknown key is an error: it was meant to narrow what runs. */
const labelsSection = z.strictObject(
  { any: labels, all: labels, exclude: labels },
  {
    error: (issue) =>
      issue.code === "unrecognized_keys"
        ? `has no key ${issue.keys.join(", ")}: its keys are any, all and exclude`
        : "must be a map with any, all or exclude",
  },
);
/** Nothing would ever run, and a new issue of the local tracker would have no state to begin in. */
export const noState = "must name at least one state";

export const trackerSection = section({
  kind: solidText,
  provider: map.default({}),
  required_labels: texts.default([]),
  labels: labelsSection.prefault({}),
  active_states: z.array(solidText, "must be a list").min(1, noState).optional(),
  blocker_states: texts.nullable().default(null),
  terminal_states: texts.optional(),
  comment_steering: z.enum(["off", "mention", "all"], "must be off, mention or all").default("off"),
  command_prefix: solidText
    .regex(/^\S+$/, "must be one word, such as /symphony")
    .default("/symphony"),
  comment_mention: solidText.default("@symphony"),
  updates: z.enum(["none", "state", "all"], "must be none, state or all").default("state"),
  comment: section({ cost: z.boolean("must be true or false").default(false) }).prefault({}),
  in_progress: solidText.nullable().default(null),
  on_success: solidText.nullable().default(null),
  on_merged: solidText.nullable().default(null),
});

const hooks = section({
  after_create: script,
  before_run: script,
  after_run: script,
  before_remove: script,
  timeout_ms: positive.default(60_000),
});

/** Stands in messages to people, so it may hold no credential. */
const publicUrl = text.refine((value) => {
  const url = URL.parse(value);
  const isPlain = url !== null && url.username === "" && url.password === "";
  return isPlain && /^https?:$/.test(url.protocol) && url.search === "" && url.hash === "";
}, "must be an http or https address without user, query and fragment, such as https://symphony.example.com");

export const serverSection = section({
  host: solidText.default("127.0.0.1"),
  port: wholeNumber
    .min(0, "must be between 0 and 65535")
    .max(65_535, "must be between 0 and 65535")
    .default(4000),
  allowed_hosts: z.array(solidText, "must be a list").default([]),
  auth: oneOf("none", "token").default("none"),
  rate_limit: positive.nullable().default(300),
  public_url: publicUrl.nullable().default(null),
});

const history = section({
  retention_days: positive.max(36_500, "must not be over 36500").nullable().default(90),
});

function schemaOf(agents: ConfigKinds["agents"]) {
  const [first, ...others] = agents.map(({ kind }) => kind);
  if (first === undefined) throw new Error("there is no kind of agent");
  const before = {
    tracker: trackerSection,
    polling: section({ interval_ms: positive.default(30_000) }).prefault({}),
    workspace: workspaceSection.prefault({}),
    hooks: hooks.prefault({}),
    git: gitSection.prefault({}),
    delivery: deliverySection.prefault({}),
    agent: agentSectionOf([first, ...others]).prefault({}),
    agents: agentsSection.prefault({}),
    brakes: brakesSection.prefault({}),
    usage: usageSection.prefault({}),
  };
  const after = {
    notify: notifySection.default([]),
    history: history.prefault({}),
    storage: storageSection.prefault({}),
    host: hostSection.prefault({}),
    fleet: fleetSection.prefault({}),
    worker: workerSection.prefault({}),
    server: serverSection.prefault({}),
  };
  const common = { ...before, ...after };
  const taken = agents.find(({ kind }) => Object.hasOwn(common, kind));
  if (taken) throw new Error(`${taken.kind} is a section already, so no agent can have this name`);
  const own = agents.map(({ kind, section: { schema } }) => [kind, schema.prefault({})]);
  // Only their own rows know their shapes.
  const ofAgents: object = Object.fromEntries(own);
  return z.looseObject({ ...before, ...ofAgents, ...after });
}

function unwrapped(written: z.ZodObject | z.ZodPrefault<z.ZodObject>): z.ZodObject {
  return written instanceof z.ZodPrefault ? written.unwrap() : written;
}
