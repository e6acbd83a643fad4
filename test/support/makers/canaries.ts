/** Secrets of every origin and form, none of which may be visible anywhere. */
const random = (at: number) => `c4n4ry${at}`.padEnd(24, "Zq7");

/** Known as secrets by the name of their variable. */
export const inEnvironment: Readonly<Record<string, string>> = {
  LINEAR_API_KEY: `lin_api_${random(1)}`,
  OPENAI_API_KEY: `sk-proj-${random(2)}`,
  GITHUB_TOKEN: `github_pat_${random(3)}`,
  HOOK_SECRET: `lin_wh_${random(4)}`,
  DB_PASSWORD: `p@ss/${random(5)}&"<x>'`,
  DEPLOY_KEY: `Aa1+/=${random(6)}`,
  SIGNING_SECRET: random(7),
  npm_token: `npm_${random(8)}`,
};

/** Stored as secrets of the project. */
export const stored: Readonly<Record<string, string>> = {
  A: random(9),
  B: `pass phrase ${random(10)}`,
  C: `ünïcode-${random(11)}`,
  D: `back\\slash"quote-${random(12)}`,
  E: `${random(13)}%2F%41`,
  F: `https://user:${random(14)}@example.com/`,
  G: `{"json":"${random(15)}"}`,
  H: `tab\t${random(16)}`,
};

/** Not stored anywhere: they are recognised only by their form. */
export const byShape: readonly string[] = [
  `sk-proj-${random(17)}`,
  `sk-ant-${random(18)}`,
  `github_pat_${random(19)}`,
  `ghp_${random(20)}`,
  `lin_api_${random(21)}`,
  `lin_wh_${random(22)}`,
  `xoxb-${random(23)}`,
  `eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ${random(24)}.${random(24)}`,
  `-----BEGIN PRIVATE KEY-----\n${random(25).repeat(4)}\n-----END PRIVATE KEY-----`,
];

export const canaries: readonly string[] = [
  ...Object.values(inEnvironment),
  ...Object.values(stored),
  ...byShape,
];

/** The canaries in `text`, plain or, when their value is known, encoded. */
export function canariesIn(text: string): readonly string[] {
  const known = [...Object.values(inEnvironment), ...Object.values(stored)];
  const encoded = known.flatMap((value) => [
    JSON.stringify(value).slice(1, -1),
    encodeURIComponent(value),
    Buffer.from(value).toString("base64"),
    Buffer.from(value).toString("hex"),
  ]);
  const found = [...canaries, ...encoded].filter((canary) => text.includes(canary));
  // The middle part of each one, which no encoding or truncation may leave visible either.
  return [...found, ...(text.match(/c4n4ry\d+Zq7/g) ?? [])];
}
