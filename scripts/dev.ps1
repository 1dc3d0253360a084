# Starts one role of Starling on Windows, as `make dev-api` and `make dev-core` do elsewhere.
#   scripts\dev.ps1 -Target api
#   scripts\dev.ps1 -Target core
# Settings come from the environment and deploy\config\dev.yaml (see deploy\config\dev.example.yaml). DATABASE_URL
# must name a PostgreSQL 15 or newer with PostGIS.
param(
    [Parameter(Mandatory = $true)]
    [ValidateSet('api', 'core')]
    [string]$Target,

    [Parameter(ValueFromRemainingArguments = $true)]
    [string[]]$Rest
)
$ErrorActionPreference = 'Stop'
Set-Location (Join-Path $PSScriptRoot '..')

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
