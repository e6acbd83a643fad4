import assert from "node:assert/strict";
import { test } from "node:test";
import { isGitAddress, parseGitAddress } from "../../../src/core/config/git.ts";
import { type GithubSettings, githubOf, repositoryOf } from "../../../src/core/github/settings.ts";
import { SymphonyError } from "../../../src/core/model/errors.ts";

const key = "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----";
const values: Readonly<Record<string, string>> = {
  GITHUB_TOKEN: "ghp_a",
  OTHER: "ghp_b",
  KEY: key,
};
const lookup = (name: string) => values[name];

function refusal(written: unknown, look = lookup): string {
  try {
    githubOf(written, look).credential();
  } catch (error) {
    assert.ok(error instanceof SymphonyError);
    assert.equal(error.code, "invalid_config");
    return error.message;
  }
  return "accepted";
}

test("github.com with the default token needs no setting", () => {
  const settings = githubOf(undefined, lookup);
  assert.equal(settings.api, "https://api.github.com");
  assert.equal(settings.graphql, "https://api.github.com/graphql");
  assert.equal(settings.web, "github.com");
  assert.deepEqual(settings.credential(), { type: "token", token: "ghp_a" });
  assert.deepEqual(githubOf({ token: "$OTHER" }, lookup).secretEnvNames, ["OTHER", "GITHUB_TOKEN"]);
});

test("a GitHub Enterprise Server and a data-resident GitHub have addresses of their own", () => {
  const server = githubOf({ base_url: "https://git.example.com/api/v3/" }, lookup);
  assert.equal(server.api, "https://git.example.com/api/v3");
  assert.equal(server.graphql, "https://git.example.com/api/graphql");
  assert.equal(server.web, "git.example.com");
  const resident = githubOf({ base_url: "https://api.octo.ghe.com" }, lookup);
  assert.deepEqual(
    [resident.graphql, resident.web],
    ["https://api.octo.ghe.com/graphql", "octo.ghe.com"],
  );
  assert.equal(githubOf({ base_url: "https://github.com" }, lookup).api, "https://api.github.com");
});

test("an app names its key; line ends may be written as \\n", () => {
  const app = { id: 4242, private_key: "$KEY" };
  assert.deepEqual(githubOf({ app }, lookup).credential(), {
    type: "app",
    id: "4242",
    installation: null,
    privateKey: key,
  });
  const oneLine = () => key.replaceAll("\n", "\\n");
  const installed = githubOf({ app: { ...app, id: "Iv23abc", installation_id: "60" } }, oneLine);
  assert.deepEqual(installed.credential(), {
    type: "app",
    id: "Iv23abc",
    installation: 60,
    privateKey: key,
  });
});

test("what cannot work is refused with its path", () => {
  const cases: readonly (readonly [unknown, RegExp])[] = [
    [{ token: "ghp_literal" }, /^delivery\.github\.token must name a secret or variable/],
    [{ app: { id: 1, private_key: key } }, /^delivery\.github\.app\.private_key must name/],
    [
      { token: "$A", app: { id: 1, private_key: "$KEY" } },
      /^delivery\.github\.app must not be set/,
    ],
    [{ tokn: "$A" }, /^delivery\.github\.tokn is not known/],
    [{ base_url: "http://git.example.com" }, /base_url must be an https URL/],
    [{ base_url: "https://u:p@git.example.com" }, /base_url must not hold a user/],
    [{ base_url: "https://169.254.169.254/" }, /base_url must not be a link-local address/],
    [{ token: "$UNSET" }, /^UNSET, which delivery\.github\.token needs, is not set/],
    [{ app: { id: 1, private_key: "$OTHER" } }, /OTHER, which holds no private key in PEM form/],
  ];
  for (const [written, message] of cases) assert.match(refusal(written), message);
  const strange = refusal({}, () => "ghp_a\nX-Evil: 1");
  assert.match(strange, /holds characters that no token has/);
  assert.doesNotMatch(strange, /Evil/);
});

test("the repository is found in every form of its address, and only on this site", () => {
  const github = githubOf({}, lookup);
  const server = githubOf({ base_url: "https://git.example.com:8443/api/v3" }, lookup);
  const found = (settings: GithubSettings, written: string) => {
    const address = parseGitAddress(written);
    assert.ok(isGitAddress(address), written);
    const place = repositoryOf(settings, address);
    return place && `${place.owner}/${place.name}`;
  };
  for (const written of [
    "https://github.com/acme/app",
    "https://$GITHUB_TOKEN@github.com/acme/app.git/",
    "https://GitHub.com/acme/app.git",
    "git@github.com:acme/app.git",
    "git@github.com:/acme/app",
    "ssh://git@github.com/acme/app.git",
    "ssh://git@ssh.github.com:443/acme/app.git",
  ]) {
    assert.equal(found(github, written), "acme/app", written);
    assert.equal(found(server, written), null, written);
  }
  for (const written of [
    "https://git.example.com:8443/acme/app.git",
    "ssh://git@git.example.com:22/acme/app.git",
    "git@git.example.com:acme/app.git",
  ]) {
    assert.equal(found(server, written), "acme/app", written);
    assert.equal(found(github, written), null, written);
  }
  for (const written of [
    "https://github.com.evil.example/acme/app",
    "https://github.com/acme",
    "https://github.com/acme/app/tree/main",
    "https://github.com/acme/..",
    "https://github.com/acme/a%2Fb",
    "/srv/github.com/acme/app",
    "git@notgithub.com:acme/app",
  ]) {
    assert.equal(found(github, written), null, written);
  }
});
