import {
  AssignTag,
  CaptureTag,
  DecrementTag,
  ForTag,
  IncrementTag,
  type PropertyAccessToken,
  type Template,
  type Token,
  TypeGuards,
  toValueSync,
  Value,
} from "liquidjs";
import type { ErrorCode } from "../model/errors.ts";
import { nearest } from "../text/nearest.ts";
import { filterNames, type TemplateFault, templatesIn } from "./liquid.ts";
import { isList, type Shape, type ShapeMap } from "./variables.ts";

const maxFaults = 20;
/** Names that are listed where none of them resembles the wrong one. */
const maxNamed = 24;
/** A shorter word resembles too many others. */
const shortWord = 3;

const loopShape: ShapeMap = {
  first: "flag",
  last: "flag",
  index: "number",
  index0: "number",
  rindex: "number",
  rindex0: "number",
  length: "number",
  name: "text",
};

/** Filters whose result has the shape of what they are given. */
const keepsShape = new Set([
  ...["compact", "reject", "reverse", "sort", "sort_natural", "uniq", "where", "slice"],
  ...["pop", "shift", "strip", "lstrip", "rstrip", "upcase", "downcase", "capitalize"],
]);
const givesItem = new Set(["first", "last", "find"]);
/** Filters whose first argument names a property of the items. */
const readsProperty = new Set([
  ...["find", "find_index", "group_by", "has", "map", "reject", "sum", "where"],
  ...["sort", "sort_natural", "uniq", "compact"],
]);

/**
 * The faults of a template that rendering would report, and those it would report only for some issues: syntax, unknown
 * filters, and names that `variables` does not have, in the order of the text. At most 20. Reads no file, renders nothing.
 */
export function faultsIn(source: string, variables: ShapeMap): readonly TemplateFault[] {
  const { templates, faults } = templatesIn(source, maxFaults);
  const names = new Map<string, Shape>(Object.entries(variables));
  // What a broken tag would have defined is not known, so nothing is said about it.
  if (faults.length > 0) for (const name of definedIn(source)) names.set(name, "data");
  const check = new Check(names);
  check.all(templates, new Map());
  return [...faults, ...check.faults].sort(byPlace).slice(0, maxFaults);
}

function definedIn(source: string): readonly string[] {
  const defining = /\b(?:assign|capture|increment|decrement|for)\s+["']?([\w-]+)/g;
  return ["forloop", ...[...source.matchAll(defining)].map(([, name = ""]) => name)];
}

function byPlace(a: TemplateFault, b: TemplateFault): number {
  return a.line - b.line || a.column - b.column;
}

/** The variables of the loops around a tag. */
type Scope = ReadonlyMap<string, Shape>;

/** Goes through a template in the order of its text, and knows the shape of each variable. */
class Check {
  readonly faults: TemplateFault[] = [];
  /** Variables of the whole template; grows as the text assigns further ones. */
  readonly #names: Map<string, Shape>;

  constructor(names: Map<string, Shape>) {
    this.#names = names;
  }

  all(templates: readonly Template[], scope: Scope): void {
    for (const template of templates) this.#one(template, scope);
  }

  #one(template: Template, scope: Scope): void {
    if (template instanceof ForTag) return this.#loop(template, scope);
    const shapes = [...(template.arguments?.() ?? [])].map((value) => this.#shape(value, scope));
    if (template.children) this.all(toValueSync(template.children(false, true)), scope);
    const [shape = "data"] = shapes;
    for (const { content } of template.localScope?.() ?? []) {
      this.#define(content, definedShape(template, shape));
    }
  }

  #loop(template: ForTag, scope: Scope): void {
    const [collection, ...limits] = [...template.arguments()];
    const items = this.#shape(collection, scope);
    const withContinue = new Map(scope).set("continue", "number");
    for (const limit of limits) this.#shape(limit, withContinue);
    const inner = new Map(scope).set("forloop", loopShape).set(template.variable, itemOf(items));
    this.all(template.templates, inner);
    this.all(template.elseTemplates, scope);
  }

  #define(name: string, shape: Shape): void {
    const known = this.#names.get(name);
    // Two branches may assign different things.
    this.#names.set(name, known === undefined || known === shape ? shape : "data");
  }

  /** Checks a value with its filters, and returns its shape. */
  #shape(value: unknown, scope: Scope): Shape {
    if (value instanceof Value) {
      return this.#filtered(value.initial.postfix, value.filters, scope);
    }
    if (!isToken(value)) return "data";
    if (TypeGuards.isPropertyAccessToken(value)) return this.#path(value, scope);
    if (TypeGuards.isQuotedToken(value)) return "text";
    if (TypeGuards.isNumberToken(value)) return "number";
    if (TypeGuards.isRangeToken(value)) {
      this.#shape(value.lhs, scope);
      this.#shape(value.rhs, scope);
      return ["number"];
    }
    if (TypeGuards.isFilteredValueToken(value)) {
      return this.#filtered(value.initial.postfix, value.filters, scope);
    }
    return "data";
  }

  #filtered(tokens: readonly Token[], filters: readonly FilterUse[], scope: Scope): Shape {
    const shapes = tokens.map((token) => this.#shape(token, scope));
    let shape: Shape = shapes.length === 1 ? (shapes[0] ?? "data") : "data";
    for (const filter of filters) {
      for (const arg of filter.args) this.#shape(Array.isArray(arg) ? arg[1] : arg, scope);
      if (!filterNames.has(filter.name)) {
        const what = `undefined filter: ${filter.name}${meant(filter.name, filterNames)}`;
        this.#report("template_render_error", placeOf(filter) ?? tokens[0], what);
      }
      this.#property(filter, shape);
      shape = filteredShape(filter.name, shape);
    }
    return shape;
  }

  /** `issue.blocked_by | map: "title"`: such a name would be empty without an error. */
  #property({ name, args }: FilterUse, shape: Shape): void {
    const [arg] = args;
    if (!readsProperty.has(name) || !isToken(arg) || !TypeGuards.isQuotedToken(arg)) return;
    const items = itemOf(shape);
    if (isList(shape) && isMap(items) && typeof arg.content === "string") {
      const [first = ""] = arg.content.split(".");
      if (!Object.hasOwn(items, first)) {
        const what = `undefined variable: "${first}" of ${name}${meant(first, Object.keys(items))}`;
        this.#report("template_render_error", arg, what);
      }
    }
  }

  #path(token: PropertyAccessToken, scope: Scope): Shape {
    const segments = token.props.map((prop) => this.#segment(prop, scope));
    let shape: Shape | null = token.variable ? this.#shape(token.variable, scope) : null;
    for (const [at, segment] of segments.entries()) {
      const next = shape === null ? this.#root(segment, scope) : childOf(shape, segment);
      if (next === null) {
        const above = segments.slice(0, at).join(".");
        const names = shape === null ? this.#rootNames(scope) : namesOf(shape);
        const said = above === "" ? `${segment}` : `${above}.${segment}`;
        const hint = meant(`${segment}`, names, above === "" ? "" : `${above}.`);
        this.#report("template_render_error", token, `undefined variable: ${said}${hint}`);
        return "data";
      }
      shape = next;
    }
    return shape ?? "data";
  }

  #root(name: Segment, scope: Scope): Shape | null {
    if (typeof name !== "string") return "data";
    return scope.get(name) ?? this.#names.get(name) ?? null;
  }

  #rootNames(scope: Scope): readonly string[] {
    const names = new Set([...this.#names.keys(), ...scope.keys()]);
    return [...names].filter((name) => name !== "forloop" && name !== "continue");
  }

  /** null: known only when it is rendered. */
  #segment(prop: Token, scope: Scope): Segment {
    if (TypeGuards.isPropertyAccessToken(prop)) this.#shape(prop, scope);
    const content: unknown = Reflect.get(prop, "content");
    return typeof content === "string" || typeof content === "number" ? content : null;
  }

  #report(code: ErrorCode, at: Token | undefined, message: string): void {
    // The time to find the place grows with the length of the text before it.
    if (this.faults.length >= maxFaults) return;
    const [line = 1, column = 1] = at?.getPosition() ?? [];
    this.faults.push({ code, line, column, message });
  }
}

/** A filter as it is applied. */
interface FilterUse {
  readonly name: string;
  readonly args: readonly unknown[];
}

/** Where its name begins; liquidjs keeps the token of a parsed filter to itself. */
function placeOf(filter: FilterUse): Token | undefined {
  const token: unknown = isToken(filter) ? filter : Reflect.get(filter, "token");
  return isToken(token) ? token : undefined;
}

function isToken(value: unknown): value is Token {
  return typeof value === "object" && value !== null && "getPosition" in value;
}

function definedShape(template: Template, value: Shape): Shape {
  if (template instanceof AssignTag) return value;
  if (template instanceof CaptureTag) return "text";
  return template instanceof IncrementTag || template instanceof DecrementTag ? "number" : "data";
}

function filteredShape(name: string, shape: Shape): Shape {
  if (keepsShape.has(name)) return shape;
  if (givesItem.has(name)) return itemOf(shape);
  if (name === "size") return "number";
  return name === "split" ? ["text"] : "data";
}

/** What a loop over it yields. */
function itemOf(shape: Shape): Shape {
  if (isList(shape)) return shape[0];
  return shape === "text" || shape === "time" ? "text" : "data";
}

function isMap(shape: Shape): shape is ShapeMap {
  return typeof shape === "object" && !isList(shape);
}

type Segment = string | number | null;

/** The shape of a property; null if there is no such property. */
function childOf(shape: Shape, segment: Segment): Shape | null {
  if (shape === "data") return "data";
  if (isMap(shape)) {
    if (segment === null) return "data";
    if (Object.hasOwn(shape, segment)) return shape[segment] ?? null;
    return segment === "size" ? "number" : null;
  }
  if (shape === "number" || shape === "flag") return null;
  if (segment === "size") return "number";
  if (typeof segment !== "string") return itemOf(shape);
  return isList(shape) && (segment === "first" || segment === "last") ? shape[0] : null;
}

function namesOf(shape: Shape): readonly string[] {
  if (isMap(shape)) return Object.keys(shape);
  if (isList(shape)) return ["first", "last", "size"];
  return shape === "text" || shape === "time" ? ["size"] : [];
}

/** A suggestion, else all names, as they are written after `above`. */
function meant(word: string, names: Iterable<string>, above = ""): string {
  const known = [...names];
  const near = word.length < shortWord ? null : nearest(word, known);
  if (near !== null) return `; did you mean ${above}${near}?`;
  if (known.length === 0 || known.length > maxNamed) return "";
  return above === ""
    ? `; known: ${known.join(", ")}`
    : `; ${above.slice(0, -1)} has ${known.join(", ")}`;
}
