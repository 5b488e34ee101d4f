import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { TeleportError } from '../../protocol/errors.ts';
import type { GatewaySettings, ProviderName } from '../../protocol/gateway.ts';
import type { Context } from '../context.ts';
import { define } from '../define.ts';
import { oneOf, seconds, wholeNumber } from '../options.ts';
import { only } from '../target.ts';
import { printable, usageText } from '../text.ts';

interface GatewayOptions {
  provider?: ProviderName;
  baseUrl?: string;
  keyEnv?: string;
  key: boolean;
  budgetTokens?: number;
  budgetRequests?: number;
  prices?: string;
  timeout?: number;
  transcripts: boolean;
}

export function registerGateway(program: Command, ctx: Context): void {
  define<GatewayOptions>(program, ctx, {
    usage: 'gateway [SANDBOX]',
    summary: 'let programs of a sandbox ask models, with a key that stays out here, until Ctrl-C',
    examples: [
      'gateway api --provider anthropic',
      'gateway api --provider openai --budget-tokens 200000 --prices prices.json',
      'gateway api --base-url http://127.0.0.1:11434/v1 --no-key',
    ],
    options: (command) =>
      command
        .option(
          '--provider <name>',
          'openai or anthropic, or what speaks like it (default: those whose key is set)',
          oneOf('openai', 'anthropic'),
        )
        .option('--base-url <url>', 'of another endpoint (with --provider; default: openai)')
        .option('--key-env <name>', 'the variable that holds the key (default: OPENAI_API_KEY, ANTHROPIC_API_KEY)')
        .option('--no-key', 'the endpoint wants none')
        .option('--budget-tokens <n>', 'refuse when the sandbox has used that many tokens, ever', wholeNumber)
        .option('--budget-requests <n>', 'refuse when it has made that many requests, ever', wholeNumber)
        .option('--prices <file>', 'JSON: {"model or prefix*": {"input": 1, "output": 2}}, for a million tokens')
        .option('--timeout <seconds>', 'how long a model may take to begin to answer (default: 300)', seconds)
        .option('--no-transcripts', 'keep no conversations'),
    action: async (ctx, words, options) => {
      const settings = await settingsOf(options, ctx.io.env);
      await serve(ctx, only(words, options.sandbox), settings);
    },
  });
}

/** Of options and environment, checked as what comes over a wire. @throws TeleportError `noKey`, `invalidRequest` */
export async function settingsOf(options: GatewayOptions, env: NodeJS.ProcessEnv): Promise<GatewaySettings> {
  const { GatewaySettings } = await import('../../protocol/gateway.ts');
  const { PROVIDERS } = await import('../../client/gateway/provider.ts');
  const { provider, baseUrl, keyEnv, prices, budgetTokens: tokens, budgetRequests: requests, timeout } = options;
  const variable = (name: ProviderName) => keyEnv ?? PROVIDERS[name].keyVariable;
  const named = provider ?? (baseUrl || keyEnv || !options.key ? 'openai' : undefined);
  const names = named ? [named] : (['openai', 'anthropic'] as const).filter((name) => env[variable(name)]);
  const missing = named ? options.key && !env[variable(named)] : names.length === 0;
  if (missing)
    throw new TeleportError(
      'noKey',
      `there is no key: ${named ? variable(named) : 'OPENAI_API_KEY, ANTHROPIC_API_KEY'} is not set`,
      {
        hint: 'export it here, name another variable with --key-env, or say --no-key',
      },
    );
  const parsed = GatewaySettings.safeParse({
    providers: names.map((name) => ({ name, baseUrl, key: options.key ? env[variable(name)] : null })),
    budget: { tokens, requests },
    ...(prices === undefined ? {} : { prices: readPrices(prices) }),
    ...(timeout === undefined ? {} : { answerSeconds: timeout / 1000 }),
    transcripts: options.transcripts,
  });
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new TeleportError('invalidRequest', `${issue?.path.join('.')}: ${issue?.message}`);
}

function readPrices(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new TeleportError('invalidRequest', `${printable(file)}: ${(error as Error).message}`, { cause: error });
  }
}

/** Until a signal. A helper that ends is waited for: it is started anew by the next who needs it. */
async function serve(ctx: Context, named: string | undefined, settings: GatewaySettings): Promise<void> {
  const { ModelGateway } = await import('../../client/gateway/gateway.ts');
  const { id, name } = await ctx.sandbox(named);
  const ended = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) ctx.io.onSignal(signal, () => ended.abort());
  ctx.unread.signal.addEventListener('abort', () => ended.abort());
  const { style, errorStyle } = ctx;
  let first = true;
  while (!ended.signal.aborted) {
    const helper = await ctx.helper();
    const over = new Promise<void>((resolve) => {
      ended.signal.addEventListener('abort', () => resolve());
      if (helper.lost.aborted) resolve();
      helper.lost.addEventListener('abort', () => resolve());
    });
    const gateway = await ModelGateway.open(helper, id, settings, {
      env: ctx.io.env,
      exchanged: ({ branch, path, status, ms, usage, problem }) => {
        const mark = problem ? errorStyle.bad('✗') : errorStyle.good('✓');
        const what = problem ? printable(problem) : usage ? usageText(usage) : '';
        void ctx.remark(`${mark} ${branch} ${printable(path)} ${status} · ${ms} ms${what && ` · ${what}`}\n`);
      },
    });
    // The helper may end at any moment: that is waited for below.
    const found = await helper.request('sandbox/get', { sandbox: id }).catch((error: unknown) => {
      if (!helper.lost.aborted) throw error;
    });
    const variables = found?.sandbox.gateway?.variables ?? [];
    if (first && found)
      await ctx.answer(
        { sandbox: id, variables },
        `${style.good('✓')} ${printable(name)} can ask models: new sessions have ${variables.join(', ')} · Ctrl-C ends it\n`,
      );
    first &&= !found;
    await over;
    await gateway.close();
    if (!ended.signal.aborted) {
      await ctx.remark('the helper ended; waiting for the next\n');
      await waitForHelper(ctx, ended.signal);
    }
  }
}

const POLL_MS = 250;

async function waitForHelper(ctx: Context, signal: AbortSignal): Promise<void> {
  const { connectOrStart } = await import('../../client/start.ts');
  while (!signal.aborted) {
    try {
      (await connectOrStart({ client: 'gateway', env: ctx.io.env, start: false })).close();
      return;
    } catch (error) {
      if (!(error instanceof TeleportError && error.code === 'noHelper')) throw error;
    }
    await sleep(POLL_MS, undefined, { signal }).catch(() => undefined);
  }
}
