/** The parts that stay running, and the demonstration. Each is loaded only when it is called. */
import type { Command } from 'commander';
import { whereabouts } from '../../client/place.ts';
import type { Context } from '../context.ts';
import { define } from '../define.ts';

interface DemoOptions {
  baseUrl?: string;
  model?: string;
}

export function registerProcesses(program: Command, ctx: Context): void {
  define<{ socket?: string; state?: string; detach?: boolean }>(program, ctx, {
    usage: 'serve',
    summary: 'the daemon itself, in the foreground (root)',
    examples: ['serve', 'serve --socket /tmp/t/daemon.sock --state /tmp/t/state'],
    options: (command) =>
      command
        .option('--socket <path>', 'listen there')
        .option('--state <dir>', 'keep everything there')
        .option('--detach', 'in the background; ends once it answers'),
    action: async (ctx, _words, { socket, state, detach }) => {
      if (detach) return void (await ctx.helper());
      const { serve } = await import('../../daemon/main.ts');
      await serve({ socket: socket ?? whereabouts(ctx.io.env).socket, state });
    },
  });
  define(program, ctx, {
    usage: 'connect',
    summary: 'speak for an editor on standard input and output',
    examples: ['connect'],
    action: async (ctx) => {
      const { bridge } = await import('../../client/bridge.ts');
      ctx.exitCode = await bridge(ctx.io.stdin, ctx.io.stdout, ctx.io.env);
    },
  });
  define<DemoOptions>(program, ctx, {
    usage: 'demo',
    summary: 'two short stories, for real: a killed counter, and a sed that broke too much',
    answers: 'ok, checks, latencies',
    examples: ['demo', 'demo --base-url http://localhost:8000/v1 --model qwen-2.5-coder-32b-instruct'],
    options: (command) =>
      command
        .option('--base-url <url>', 'ask an OpenAI-compatible endpoint for commands (key: OPENAI_API_KEY)')
        .option('--model <name>', 'which model (default: qwen-2.5-coder-32b-instruct)'),
    action: async (ctx, _words, options) => {
      const { demo } = await import('../demo.ts');
      await demo(ctx, options);
    },
  });
}
