import type { SecretStorage } from 'vscode';
import type { ProviderName } from '../../helper/protocol/gateway.ts';

/** The variables of a user's environment that clients of the providers read as well. */
export const KEY_VARIABLES: Record<ProviderName, string> = {
  openai: 'OPENAI_API_KEY',
  anthropic: 'ANTHROPIC_API_KEY',
};

export const PROVIDER_TITLES: Record<ProviderName, string> = { openai: 'OpenAI', anthropic: 'Anthropic' };

/** Keys of models: in the editor's own secret storage, which the system's key ring guards, or in the user's environment. */
export class Keys {
  constructor(
    private readonly secrets: SecretStorage,
    private readonly env: NodeJS.ProcessEnv,
  ) {}

  async get(provider: ProviderName): Promise<string | undefined> {
    return (await this.secrets.get(id(provider))) ?? (this.env[KEY_VARIABLES[provider]] || undefined);
  }

  /** Where it comes from. */
  async source(provider: ProviderName): Promise<'stored' | 'environment' | 'none'> {
    if ((await this.secrets.get(id(provider))) !== undefined) return 'stored';
    return this.env[KEY_VARIABLES[provider]] ? 'environment' : 'none';
  }

  /** Undefined: forgets it. */
  async set(provider: ProviderName, key: string | undefined): Promise<void> {
    await (key === undefined ? this.secrets.delete(id(provider)) : this.secrets.store(id(provider), key));
  }
}

function id(provider: ProviderName): string {
  return `gateway.key.${provider}`;
}
