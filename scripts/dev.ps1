# Starts one role of Starling on Windows, as `make dev-api`, `make dev-core` and `make dev-py` do elsewhere.
#   scripts\dev.ps1 -Target api
#   scripts\dev.ps1 -Target core
#   scripts\dev.ps1 -Target py
# Settings come from the environment and deploy\config\dev.yaml (see deploy\config\dev.example.yaml). DATABASE_URL
# must name a PostgreSQL 15 or newer with PostGIS; py needs none, but a Python 3.11 or newer.
param(
    [Parameter(Mandatory = $true)]
    [ValidateSet('api', 'core', 'py')]
    [string]$Target,

    [Parameter(ValueFromRemainingArguments = $true)]
    [string[]]$Rest
)
$ErrorActionPreference = 'Stop'
Set-Location (Join-Path $PSScriptRoot '..')

if ($Target -eq 'py') {
    if (-not $env:HTTP_PORT) { $env:HTTP_PORT = '8084' }
    if (-not $env:SERVICE_NAME) { $env:SERVICE_NAME = 'starling-predict' }
    # An environment per lock, as scripts/python.sh makes it elsewhere. pip checks the lock's hashes as uv does.
    $lock = (Get-FileHash python\requirements.lock).Hash.Substring(0, 16)
    $venv = Join-Path $env:LOCALAPPDATA "starling\python\$lock"
    $python = Join-Path $venv 'Scripts\python.exe'
    if (-not (Test-Path (Join-Path $venv 'complete'))) {
        python -m venv --clear $venv
        if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
        & $python -m pip install --quiet --require-hashes --no-deps -r python\requirements.lock
        if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
        New-Item -ItemType File (Join-Path $venv 'complete') | Out-Null
    }
    $env:PYTHONPATH = Join-Path (Get-Location) 'python\src'
    $env:STARLING_VERSION = git describe --tags --always --dirty
    & $python -m starling.predict
    exit $LASTEXITCODE
}

switch ($Target) {
    'api' { $roles = 'gateway' }
    'core' {
        $roles = 'engine'
        if (-not $env:HTTP_PORT) { $env:HTTP_PORT = '8082' }
        if (-not $env:LINK_PORT) { $env:LINK_PORT = '8083' }
    }
}

go build -o bin\starling.exe .
if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
& bin\starling.exe serve --roles $roles @Rest
exit $LASTEXITCODE
