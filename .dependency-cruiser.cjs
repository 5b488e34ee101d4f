// Which part may know which. ARCHITECTURE.md has the picture; the reason for each direction stands here.
//
//   src ──► protocol ◄── client ◄── cli
//              ▲
//              └──── sandbox, engine ◄── daemon

const DOORS = '^helper/cli/commands/(processes|upkeep)\\.ts$';

/** A room of the helper may import itself and the others named, nothing else of this repository. */
const only = (room, others, comment, except = []) => ({
  name: `helper-${room}`,
  comment,
  severity: 'error',
  from: { path: `^helper/${room}/`, ...(except.length > 0 && { pathNot: except }) },
  to: { path: '^(src|helper|test|scripts|multipass)/', pathNot: [room, ...others].map((name) => `^helper/${name}/`) },
});

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    {
      name: 'src',
      comment: 'The extension speaks to the helper by messages, so it works with one that runs elsewhere.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/connection/multipass/workspace/' },
      to: { path: '^(helper|test|scripts)/', pathNot: '^helper/protocol/' },
    },
    {
      name: 'src-files-of-this-host',
      comment:
        "A client process in a virtual machine can't see this host's folder: what it would do with that folder, comparing and " +
        'applying, is done on this side by the same code. It is plain node, with the rights of the user.',
      severity: 'error',
      from: { path: '^src/connection/multipass/workspace/' },
      to: {
        path: '^(helper|test|scripts)/',
        pathNot:
          '^helper/(protocol/|client/(apply/|follow/|git/|connection\\.ts$|create\\.ts$|measure\\.ts$|on-create\\.ts$))',
      },
    },
    {
      name: 'vscode-only-in-src',
      comment: 'The helper runs where there is no editor.',
      severity: 'error',
      from: { pathNot: '^src/' },
      to: { path: '(^|/)(@types/)?vscode(/|$)|(^|/)vscode-languageclient(/|$)' },
    },
    only('protocol', [], 'Messages depend on nobody: both sides read them.'),
    {
      name: 'protocol-is-plain',
      comment: 'It is bundled for a browser as well as for a daemon: no node, and one package, the schemas.',
      severity: 'error',
      from: { path: '^helper/protocol/' },
      to: { pathNot: ['^helper/protocol/', '(^|/)node_modules/zod/'] },
    },
    only('sandbox', ['protocol'], 'The model decides; it asks nobody and touches nothing.'),
    {
      name: 'sandbox-has-no-input-or-output',
      comment: 'Plain functions, so that every decision has a test that needs no machine.',
      severity: 'error',
      from: { path: '^helper/sandbox/' },
      to: { dependencyTypes: ['core'] },
    },
    only('engine', ['protocol'], 'Mechanism without policy: it knows layers and images, not whose they are.'),
    only('wire', [], 'How messages travel, not what they say.'),
    only(
      'daemon',
      ['sandbox', 'engine', 'protocol', 'wire'],
      "What runs as root takes no code from the caller's side.",
    ),
    only(
      'client',
      ['protocol', 'wire'],
      "Runs with the user's rights, reads untrusted text: nothing of root's side is in it.",
    ),
    only('bench', ['client', 'protocol'], 'Measures what a client sees.'),
    only('cli', ['client', 'bench', 'protocol'], 'A client like any other.', [DOORS]),
    {
      name: 'cli-to-the-daemon',
      comment: 'One program is both. The doors between them: `serve`, and `doctor` where no daemon runs.',
      severity: 'error',
      from: { path: DOORS },
      to: { path: '^(src|helper)/', pathNot: '^helper/(cli|client|bench|protocol)/|^helper/daemon/main\\.ts$' },
    },
    {
      name: 'no-circles',
      comment: 'Two files that need each other to run are one file, or three. Types have no order of running.',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'all-found',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true, pathNot: '^vscode$' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true, // imports of types count: they are knowledge, too
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'require', 'node', 'types'] },
  },
};
