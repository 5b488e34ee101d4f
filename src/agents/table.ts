/**
 * Agents that *Run agent in sandbox…* knows, as data. All that differs between them stands here; a new agent is a new row.
 */

/** How an agent tells of each tool call; without hooks, steps are found by watching for quiet. */
export type Hooks =
  /** `hooks` in a settings file of JSON: event names, a matcher, commands that get the call as JSON on standard input. */
  | { kind: 'settings'; file: string; event: string }
  /** A folder of the workspace with files `{version: 1, hooks: {event: [{type: 'command', bash}]}}`. */
  | { kind: 'folder'; folder: string; event: string }
  /** A module of JavaScript with a function by that name. */
  | { kind: 'plugin'; folder: string; event: string }
  | { kind: 'none' };

export interface Agent {
  readonly id: string;
  readonly name: string;
  /** The program, found on the user's PATH; null: asked for. */
  readonly binary: string | null;
  /** Below the user's home: its configuration and sign-in, copied in when the user agrees. Need not exist. */
  readonly config: readonly string[];
  /** Passed in where they are set; keys among them. */
  readonly variables: readonly string[];
  /** What it has to reach. */
  readonly hosts: readonly string[];
  readonly hooks: Hooks;
  /** Turns off the agent's own sandbox, which can't nest in ours and is not needed there. */
  readonly withoutOwnSandbox: { readonly args: readonly string[]; readonly env: Readonly<Record<string, string>> };
}

const NOTHING = { args: [], env: {} } as const;

export const AGENTS: readonly Agent[] = [
  {
    id: 'claude-code',
    name: 'Claude Code',
    binary: 'claude',
    config: ['.claude', '.claude.json'],
    variables: [
      'ANTHROPIC_API_KEY',
      'ANTHROPIC_AUTH_TOKEN',
      'ANTHROPIC_BASE_URL',
      'ANTHROPIC_MODEL',
      'CLAUDE_CODE_OAUTH_TOKEN',
    ],
    hosts: ['api.anthropic.com', 'claude.ai', 'platform.claude.com'],
    hooks: { kind: 'settings', file: '.claude/settings.json', event: 'PostToolUse' },
    withoutOwnSandbox: { args: ['--settings', '{"sandbox":{"enabled":false}}'], env: {} },
  },
  {
    id: 'codex',
    name: 'Codex',
    binary: 'codex',
    config: ['.codex'],
    variables: ['OPENAI_API_KEY', 'CODEX_API_KEY', 'OPENAI_BASE_URL'],
    hosts: ['api.openai.com', 'chatgpt.com', 'auth.openai.com'],
    hooks: { kind: 'none' },
    withoutOwnSandbox: { args: ['--sandbox', 'danger-full-access'], env: {} },
  },
  {
    id: 'gemini',
    name: 'Gemini CLI',
    binary: 'gemini',
    config: ['.gemini'],
    variables: ['GEMINI_API_KEY', 'GOOGLE_API_KEY', 'GOOGLE_CLOUD_PROJECT', 'GEMINI_MODEL'],
    hosts: ['generativelanguage.googleapis.com', 'cloudcode-pa.googleapis.com', 'oauth2.googleapis.com'],
    hooks: { kind: 'settings', file: '.gemini/settings.json', event: 'AfterTool' },
    withoutOwnSandbox: { args: [], env: { GEMINI_SANDBOX: 'false' } },
  },
  {
    id: 'qwen-code',
    name: 'Qwen Code',
    binary: 'qwen',
    config: ['.qwen'],
    variables: ['OPENAI_API_KEY', 'OPENAI_BASE_URL', 'OPENAI_MODEL', 'DASHSCOPE_API_KEY'],
    hosts: ['dashscope.aliyuncs.com', 'dashscope-intl.aliyuncs.com', 'chat.qwen.ai'],
    hooks: { kind: 'none' },
    withoutOwnSandbox: { args: [], env: { QWEN_SANDBOX: 'false' } },
  },
  {
    id: 'copilot',
    name: 'Copilot CLI',
    binary: 'copilot',
    config: ['.copilot'],
    variables: ['COPILOT_GITHUB_TOKEN', 'GH_TOKEN', 'GITHUB_TOKEN'],
    hosts: ['api.githubcopilot.com', 'api.github.com', 'github.com'],
    hooks: { kind: 'folder', folder: '.github/hooks', event: 'postToolUse' },
    withoutOwnSandbox: NOTHING,
  },
  {
    id: 'opencode',
    name: 'opencode',
    binary: 'opencode',
    config: ['.config/opencode', '.local/share/opencode/auth.json'],
    variables: ['ANTHROPIC_API_KEY', 'OPENAI_API_KEY', 'OPENROUTER_API_KEY', 'OPENAI_BASE_URL'],
    hosts: ['opencode.ai', 'models.dev', 'api.anthropic.com', 'api.openai.com', 'openrouter.ai'],
    hooks: { kind: 'plugin', folder: '.opencode/plugin', event: 'tool.execute.after' },
    withoutOwnSandbox: NOTHING,
  },
  {
    id: 'aider',
    name: 'aider',
    binary: 'aider',
    config: ['.aider.conf.yml', '.aider.model.settings.yml'],
    variables: ['OPENAI_API_KEY', 'OPENAI_API_BASE', 'ANTHROPIC_API_KEY', 'OPENROUTER_API_KEY', 'AIDER_MODEL'],
    hosts: ['api.openai.com', 'api.anthropic.com', 'openrouter.ai'],
    hooks: { kind: 'none' },
    withoutOwnSandbox: NOTHING,
  },
  {
    id: 'other',
    name: 'Other',
    binary: null,
    config: [],
    variables: ['OPENAI_API_KEY', 'OPENAI_BASE_URL', 'ANTHROPIC_API_KEY', 'ANTHROPIC_BASE_URL'],
    hosts: [],
    hooks: { kind: 'none' },
    withoutOwnSandbox: NOTHING,
  },
];
