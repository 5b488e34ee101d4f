#!/usr/bin/env python3
"""Behaves as the coding agent by whose name it is called, as far as that agent's documentation tells how it calls its hooks:
three tool calls, of which it remembers what nobody else knows. Then it writes down its memory, and ends."""
import json
import os
import re
import subprocess
import sys
import time

NAME = os.path.basename(sys.argv[0])
HOME = os.environ['HOME']
CWD = os.getcwd()
memory = []


def own_sandbox_is_off():
    args = sys.argv[1:]
    if NAME == 'claude':
        return json.loads(args[args.index('--settings') + 1])['sandbox']['enabled'] is False
    if NAME == 'codex':
        return 'sandbox_mode="danger-full-access"' in args
    if NAME == 'copilot':
        return '--no-sandbox' in args
    if NAME in ('gemini', 'qwen'):
        return os.environ[f'{NAME.upper()}_SANDBOX'] == 'false'
    return True  # it has none


def run_hook(command, call):
    done = subprocess.run(['sh', '-c', command], input=json.dumps(call), text=True, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', ''), done


def from_settings(path, event, call):
    with open(f'{HOME}/{path}') as file:
        groups = json.loads(re.sub(r'//.*', '', file.read()))['hooks'][event]
    for hook in [hook for group in groups if group.get('matcher', '*') == '*' for hook in group['hooks']]:
        assert hook['type'] == 'command'
        run_hook(hook['command'], {'session_id': 's', 'transcript_path': '/t', 'cwd': CWD, 'hook_event_name': event, **call})


def claude(tool, args, failed):
    name = {'shell': 'Bash', 'write': 'Write'}[tool]
    if failed:
        from_settings('.claude/settings.json', 'PostToolUseFailure', {'tool_name': name, 'tool_input': args, 'error': 'Exit code 3'})
    else:
        from_settings('.claude/settings.json', 'PostToolUse', {'tool_name': name, 'tool_input': args, 'tool_response': {'stdout': ''}})


def codex(tool, args, failed):
    if tool == 'write':
        args = {'command': f'*** Begin Patch\n*** Add File: {args["file_path"]}\n+x\n*** End Patch'}
    call = {'tool_name': {'shell': 'Bash', 'write': 'apply_patch'}[tool], 'tool_input': args}
    from_settings('.codex/hooks.json', 'PostToolUse', {**call, 'tool_response': {'exit_code': 3 if failed else 0}})


def gemini(tool, args, failed):
    call = {'tool_name': {'shell': 'run_shell_command', 'write': 'write_file'}[tool], 'tool_input': args}
    content = 'Exit Code: 3' if failed else 'ok'
    from_settings('.gemini/settings.json', 'AfterTool', {**call, 'tool_response': {'llmContent': content, 'returnDisplay': content}})


def qwen(tool, args, failed):
    call = {'tool_name': {'shell': 'run_shell_command', 'write': 'write_file'}[tool], 'tool_input': args}
    if failed:
        from_settings('.qwen/settings.json', 'PostToolUseFailure', {**call, 'error': 'Command exited with code: 3'})
    else:
        from_settings('.qwen/settings.json', 'PostToolUse', {**call, 'tool_response': {'llmContent': 'ok'}})


def copilot(tool, args, failed):
    for name in os.listdir(f'{HOME}/.copilot/hooks'):
        with open(f'{HOME}/.copilot/hooks/{name}') as file:
            config = json.load(file)
        assert config['version'] == 1
        if failed:
            told = {'error': 'exited with exit code 3'}
        else:
            told = {'toolResult': {'resultType': 'success', 'textResultForLlm': ''}}
        for hook in config['hooks']['postToolUseFailure' if failed else 'postToolUse']:
            assert hook['type'] == 'command'
            arguments = args if tool == 'shell' else {'path': args['file_path']}
            run_hook(hook['bash'], {'sessionId': 's', 'timestamp': 1, 'cwd': CWD, 'toolArgs': arguments,
                                    'toolName': {'shell': 'bash', 'write': 'create'}[tool], **told})


PLUGINS = """
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
const folder = `${process.env.HOME}/.config/opencode/plugins`;
const all = [];
for (const name of readdirSync(folder)) {
  writeFileSync('/tmp/plugin.mjs', readFileSync(`${folder}/${name}`)); // Bun takes any .js for a module
  const { default: plugin } = await import('/tmp/plugin.mjs');
  if (typeof plugin.id !== 'string') throw new Error('it has no id');
  if (process.env.OPENCODE_VERSION === '2')
    await plugin.setup({ tool: { hook: async (event, act) => { if (event === 'execute.after') all.push(act); } } });
  else all.push((await plugin.server({ directory: process.cwd() }))['tool.execute.after']);
}
console.log('');
for await (const line of createInterface({ input: process.stdin })) {
  const [call, metadata] = JSON.parse(line);
  for (const hook of all) await hook(call, { title: '', output: '', metadata });
  console.log('');
}"""
loaded = None


def opencode(tool, args, failed):
    given = args if tool == 'shell' else {'filePath': args['file_path']}
    exit = {'exit': 3 if failed else 0}
    if os.environ.get('OPENCODE_VERSION') == '2':
        call = {'tool': {'shell': 'shell', 'write': 'write'}[tool], 'sessionID': 's', 'id': 'c', 'input': given,
                'status': 'completed', 'result': {'content': '', 'metadata': exit}}
    else:
        call = {'tool': {'shell': 'bash', 'write': 'write'}[tool], 'sessionID': 's', 'callID': 'c', 'args': given}
    loaded.stdin.write(json.dumps([call, exit]) + '\n')
    loaded.stdin.flush()
    assert loaded.stdout.readline() == '\n'


def moment():
    asked = ['/.teleport-env/bin/teleport-env', 'status', '--json']
    return json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)['checkpoint']


TELL = {'claude': claude, 'codex': codex, 'gemini': gemini, 'qwen': qwen, 'copilot': copilot, 'opencode': opencode}


def call_tool(tool, args):
    failed = False
    before = moment()
    if tool == 'shell':
        failed = subprocess.run(['sh', '-c', args['command']]).returncode != 0
    else:
        with open(args['file_path'], 'w') as file:
            file.write('x\n')
    memory.append(os.urandom(4).hex())
    if NAME in TELL:
        TELL[NAME](tool, args, failed)
    # Without hooks it does nothing but wait, as for a model that thinks, until its files have rested.
    while NAME not in TELL and moment() == before:
        time.sleep(0.1)


assert own_sandbox_is_off(), sys.argv
with open('/tmp/given', 'w') as file:
    json.dump(dict(os.environ), file)
if NAME == 'opencode':  # its plugins live in itself
    loaded = subprocess.Popen(['node', '--input-type=module', '-e', PLUGINS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert loaded.stdout.readline() == '\n'
call_tool('shell', {'command': 'echo one > one.txt', 'description': 'The first step'})
call_tool('write', {'file_path': 'two.txt', 'content': 'x\n'})
call_tool('shell', {'command': 'echo three > three.txt; exit 3'})
with open('/tmp/memory', 'w') as file:
    file.write('\n'.join(memory))
print('done', memory[0])
sys.exit(7)
