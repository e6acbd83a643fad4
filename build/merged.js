import { createHash } from "node:crypto";
import { dirname, join, relative, resolve } from "node:path";
import { build } from "esbuild";

// Files that are always loaded together become one: finding a file takes longer than running it.

/** Commands that run the core. What only they load is one file, although none but `serve` needs all of it. */
const heavy = ["serve", "demo", "run-alone", "doctor", "daemon", "examination"].map(sourceOf);

function sourceOf(command) {
  return `src/commands/${command}.ts`;
}

/** The files of `outputs`, whose metafile is `made`, with fewer of them. */
export async function merged(outputs, made, options) {
  const texts = new Map(outputs.map(({ path, text }) => [path, text]));
  const facts = new Map(
    Object.entries(made.outputs).map(([path, one]) => [resolve(path), { ...one, own: own(one) }]),
  );
  const entry = (source) => {
    const found = [...facts].find(([, { entryPoint }]) => entryPoint === source);
    if (found === undefined) throw new Error(`no file is made of ${source}`);
    return found[0];
  };
  const closure = (path) => reached(facts, [path], (_, kind) => kind === "import-statement");
  const first = [...facts.keys()].filter((path) => !path.includes("/chunks/"));
  const withoutCore = reached(facts, first, (to) => !heavy.includes(facts.get(to).entryPoint));
  // Only what reads configurations and data needs zod: clients of a server do not.
  const ofClients = [...facts.keys()].map(closure).filter((all) => !usesZod(facts, all));
  const light = new Set(ofClients.flatMap((all) => [...all]));
  const ofServer = [...closure(entry(sourceOf("serve")))];
  const atOnce = [...closure(entry(sourceOf("main")))];
  const ofCommands = new Set(
    atOnce
      .flatMap((path) => facts.get(path).own)
      .filter(({ kind }) => kind === "dynamic-import")
      .flatMap(({ path }) => [...closure(path)]),
  );
  const taken = new Set();
  // What each command loads; what a server shares with clients at once, with clients that then load more, and with commands
  // without a server; and the rest of it.
  for (const wanted of [
    atOnce,
    ofServer.filter((path) => light.has(path) && ofCommands.has(path)),
    ofServer.filter((path) => light.has(path)),
    ofServer.filter((path) => withoutCore.has(path)),
    ofServer.filter((path) => !withoutCore.has(path)),
  ]) {
    const group = wanted.filter((path) => path.includes("/chunks/") && !taken.has(path));
    for (const path of group) taken.add(path);
    await joinGroup(group, { texts, facts, options });
  }
  for (const [path, text] of texts) {
    const short = await boundOnce(text, options);
    requireWhole(path, short, texts);
    texts.set(path, short);
  }
  exportOwnNames(texts);
  return [...texts].map(([path, text]) => ({ path, text }));
}

/** Imports are renamed in text: one in a form that was not foreseen would be missed where a user runs it. */
function requireWhole(path, text, texts) {
  for (const [, to] of text.matchAll(/(?:from|import|import\()"(\.[^"]+\.js)"/g)) {
    if (!texts.has(join(dirname(path), to)))
      throw new Error(`${path} imports ${to}, which is gone`);
  }
}

function usesZod(facts, all) {
  return [...all].some((path) => facts.get(path).imports.some((one) => one.path.endsWith("/zod")));
}

function own({ imports }) {
  return imports
    .filter(({ external }) => !external)
    .map(({ path, kind }) => ({ path: resolve(path), kind }));
}

function reached(facts, from, follows) {
  const seen = new Set(from);
  for (const path of seen)
    for (const { path: to, kind } of facts.get(path).own) if (follows(to, kind)) seen.add(to);
  return seen;
}

/**
 * By module: the names that are imported from it, so that they are imported once and not by each of the files that become one.
 * A module of which a file wants all names in one object is left out.
 */
function namesFromOutside(all) {
  const found = new Map();
  const whole = new Set();
  for (const text of all) {
    const imports = /(?<=^|[;}\n])import(?:\s([\w$]+),?)?(\{[^}]*\}|\*as [\w$]+)?\s?from"([^"]+)"/g;
    for (const [, byDefault, list = "", path] of text.matchAll(imports)) {
      if (list.startsWith("*")) whole.add(path);
      const names = found.get(path) ?? new Set();
      found.set(path, names);
      if (byDefault !== undefined) names.add("default");
      for (const one of list.slice(1, -1).split(",")) {
        const [name] = one.trim().split(" as ");
        if (name !== "") names.add(name);
      }
    }
  }
  for (const path of whole) found.delete(path);
  return found;
}

/** Files that no `import()` names export what they have by the short names that it has in them: `export{a}`, not `export{a as b}`. */
function exportOwnNames(texts) {
  const targets = (text) => [...text.matchAll(/import\("(\.[^"]+)"\)/g)].map(([, to]) => to);
  const named = new Set(
    [...texts].flatMap(([path, text]) => targets(text).map((to) => join(dirname(path), to))),
  );
  const own = new Map();
  for (const [path, text] of texts) {
    if (!path.includes("/chunks/") || named.has(path)) continue;
    const lists = [...text.matchAll(/(?<=[;}\n])export\{([^}]*)\};?(?!from)/g)];
    if (lists.length !== 1) throw new Error(`${path} has ${lists.length} lists of exports`);
    const [[whole, list]] = lists;
    const pairs = list.split(",").map((one) => one.split(" as "));
    own.set(path, new Map(pairs.map(([name, as = name]) => [as, name])));
    const short = `export{${[...new Set(pairs.map(([name]) => name))]}};`;
    texts.set(
      path,
      text.replace(whole, () => short),
    );
  }
  const imports = /(?<=^|[;}\n])(import|export)\{([^}]*)\}from"(\.[^"]+)"/g;
  for (const [path, text] of texts) {
    const rename = (whole, word, list, to) => {
      const names = own.get(join(dirname(path), to));
      if (names === undefined) return whole;
      const renamed = list.split(",").map((one) => {
        const [name, as = name] = one.split(" as ");
        const found = names.get(name);
        if (found === undefined)
          throw new Error(`${to} does not export ${name}, which ${path} imports`);
        return found === as ? as : `${found} as ${as}`;
      });
      return `${word}{${renamed}}from"${to}"`;
    };
    texts.set(path, text.replace(imports, rename));
  }
}

/** `text` with each name from outside imported once: modules that became one file import it each for themselves. */
async function boundOnce(text, options) {
  const outside = namesFromOutside([text]);
  const plugin = {
    name: "bound-once",
    setup(plugin) {
      plugin.onResolve({ filter: /./ }, ({ path, kind, namespace }) =>
        kind === "import-statement" && namespace !== "outside" && outside.get(path)?.size > 0
          ? { path, namespace: "outside" }
          : { path, external: true },
      );
      loadOutside(plugin, outside);
    },
  };
  const stdin = { contents: text };
  const { outputFiles } = await build({ ...options, stdin, write: false, plugins: [plugin] });
  return outputFiles[0].text;
}

function loadOutside(plugin, outside) {
  plugin.onLoad({ filter: /./, namespace: "outside" }, ({ path }) => ({
    contents: `export { ${[...outside.get(path)]} } from "${path}";`,
    loader: "js",
  }));
}

/** One file of all of `group`; the others import from it. A file that is loaded by `import()` stays as a list of its names. */
async function joinGroup(group, { texts, facts, options }) {
  if (group.length < 2) return;
  const names = new Map(group.map((path, at) => [path, (name) => `${name}_${at.toString(36)}`]));
  const contents = group.map((path) => {
    const { exports } = facts.get(path);
    const list = exports.map((name) => `${name} as ${names.get(path)(name)}`);
    return list.length === 0 ? `import "${path}";` : `export { ${list} } from "${path}";`;
  });
  const outside = namesFromOutside(group.map((path) => texts.get(path)));
  const ofGroup = {
    name: "of-group",
    setup(plugin) {
      plugin.onResolve({ filter: /./ }, ({ path, importer, kind, namespace }) => {
        const to = path.startsWith(".") ? resolve(dirname(importer), path) : path;
        if (names.has(to)) return { path: to, namespace: "made" };
        const isNamed = kind === "import-statement" && namespace === "made" && outside.has(path);
        return isNamed ? { path, namespace: "outside" } : { path, external: true };
      });
      loadOutside(plugin, outside);
      plugin.onLoad({ filter: /./, namespace: "made" }, ({ path }) => ({
        contents: texts.get(path),
        loader: "js",
      }));
    },
  };
  const { outputFiles } = await build({
    ...options,
    ...{ stdin: { contents: contents.join("\n") }, write: false, plugins: [ofGroup] },
  });
  const [target] = group;
  const isLazy = new Set(
    [...facts.values()].flatMap(({ own: all }) =>
      all.filter(({ kind }) => kind === "dynamic-import").map(({ path }) => path),
    ),
  );
  const hash = createHash("sha256").update(outputFiles[0].text).digest("hex").slice(0, 8);
  const file = join(dirname(target), `${hash.toUpperCase()}.js`);
  for (const path of group) {
    const list = facts.get(path).exports.map((name) => `${names.get(path)(name)} as ${name}`);
    if (isLazy.has(path))
      texts.set(path, `export{${list}}from"./${relative(dirname(path), file)}";`);
    else texts.delete(path);
  }
  for (const [path, text] of texts) {
    if (names.has(path)) continue;
    const to = `./${relative(dirname(path), file)}`.replace("./..", "..");
    texts.set(
      path,
      text.replace(
        /(?<=^|[;}\n])(import|export)(\{[^}]*\}from)?"(\.[^"]+)"/g,
        (whole, word, list, from) => {
          const of = names.get(join(dirname(path), from));
          if (of === undefined) return whole;
          if (list === undefined) return `import"${to}"`;
          const renamed = list
            .slice(1, list.indexOf("}"))
            .split(",")
            .map((one) => {
              const [name, as = name] = one.split(" as ");
              return `${of(name)} as ${as}`;
            });
          return `${word}{${renamed}}from"${to}"`;
        },
      ),
    );
  }
  texts.set(file, outputFiles[0].text);
}
