/** Makes a sandbox ready for an agent: its program found, its configuration and hooks in place. Running it is a terminal like any other. */
import { AGENTS, type Agent, agentById, INSIDE_PROGRAM } from '../../protocol/agents.ts';
import { TeleportError } from '../../protocol/errors.ts';
import type { Link } from '../session.ts';
import { type Place, readInside, runInside, writeInside } from './inside-files.ts';
import { agentCommand, agentEnvironment, hookFile } from './plan.ts';
import { readSignIn, signInOf } from './sign-in.ts';

export { signInOf } from './sign-in.ts';

export interface Wanted {
  agent: string;
  /** Its program, where it is not the table's; for `other` it is needed. */
  program?: string;
  words: string[];
  /** The user agreed: configuration, sign-in and keys come along. */
  signIn: boolean;
}

export interface Ready {
  argv: string[];
  env: Record<string, string>;
  /** Files that were copied in, below the home. */
  copied: string[];
  /** How steps are found. */
  steps: 'hooks' | 'quiet' | 'both';
}

/** @throws TeleportError `invalidRequest` */
export function namedAgent(id: string): Agent {
  const agent =
    agentById(id) ?? AGENTS.find(({ name, binary }) => name.toLowerCase() === id.toLowerCase() || binary === id);
  if (agent) return agent;
  throw new TeleportError('invalidRequest', `no agent ${JSON.stringify(id)} is known`, {
    hint: `known are ${AGENTS.map((one) => one.id).join(', ')}; for another: agent other -- COMMAND`,
  });
}

/** @throws TeleportError `invalidRequest`, `unknownPath` where its program is not in the sandbox */
export async function prepareAgent(link: Link, place: Place, env: NodeJS.ProcessEnv, wanted: Wanted): Promise<Ready> {
  const agent = namedAgent(wanted.agent);
  const program = wanted.program ?? agent.binary;
  if (!program)
    throw new TeleportError('invalidRequest', 'which command is the agent?', { hint: 'agent other -- COMMAND' });
  const { gateway } = (await link.request('sandbox/get', { sandbox: place.sandbox })).sandbox;
  const inside = await findInside(link, place, agent, program);
  const copied: string[] = [];
  if (wanted.signIn && env.HOME) {
    for (const path of signInOf(agent, env.HOME, env).files) {
      // What the agent has written in there since is its own.
      if ((await readInside(link, place, `${inside.home}/${path}`)) !== null) continue;
      await writeInside(link, place, `${inside.home}/${path}`, readSignIn(env.HOME, path));
      copied.push(path);
    }
  }
  const hooked = await placeHooks(link, place, agent, inside.home);
  const quiet = agent.quiet || !hooked;
  return {
    argv: agentCommand(agent, program, wanted.words, quiet),
    env: agentEnvironment(agent, env, wanted.signIn, gateway?.variables),
    copied,
    steps: hooked ? (quiet ? 'both' : 'hooks') : 'quiet',
  };
}

const LOOK = 'printf "%s\\n" "$HOME"; test -x "$2" || exit 3; command -v -- "$1" || exit 4';

async function findInside(link: Link, place: Place, agent: Agent, program: string): Promise<{ home: string }> {
  const { exitCode, output } = await runInside(link, place, ['sh', '-c', LOOK, 'sh', program, INSIDE_PROGRAM]);
  const [home = '/'] = output.split('\n');
  if (exitCode === 0) return { home };
  if (exitCode === 3)
    throw new TeleportError(
      'invalidRequest',
      'this sandbox was made by an older version, and has no place for agents',
      {
        hint: 'make a new one: teleport-env up --name OTHER',
      },
    );
  throw new TeleportError(
    'unknownPath',
    `${program} is not in the sandbox${agent.binary === program ? ` (${agent.name})` : ''}`,
    {
      hint: 'install it where all users see it, or in a folder of tools on your PATH, then make a new sandbox; or install it inside',
    },
  );
}

async function placeHooks(link: Link, place: Place, agent: Agent, home: string): Promise<boolean> {
  if (agent.hooks.kind === 'none') return false;
  const path = `${home}/${agent.hooks.file}`;
  const file = hookFile(agent, await readInside(link, place, path));
  if (!file) return false;
  await writeInside(link, place, path, Buffer.from(file.text));
  return true;
}
