// Command sdk sends the lines of a file through the log SDK of OpenTelemetry, as a service in Go would.
//
//	sdk http|grpc ADDRESS TOKEN FILE
package main

import (
	"bufio"
	"context"
	"log"
	"os"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	api "go.opentelemetry.io/otel/log"
	sdk "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
)

// again is an exporter that does not give up: the SDK's own counts a refused connection as final.
type again struct{ sdk.Exporter }

// Export sends the records, however often it takes.
func (e again) Export(ctx context.Context, records []sdk.Record) error {
	for {
		err := e.Exporter.Export(ctx, records)
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// patience is how long it tries again while nobody answers.
const patience = time.Minute

func exporter(ctx context.Context, transport, address, token string) (sdk.Exporter, error) {
	headers := map[string]string{"authorization": "Bearer " + token}
	if transport == "grpc" {
		return otlploggrpc.New(ctx, otlploggrpc.WithEndpoint(address), otlploggrpc.WithInsecure(),
			otlploggrpc.WithHeaders(headers), otlploggrpc.WithTimeout(patience),
			otlploggrpc.WithRetry(otlploggrpc.RetryConfig{Enabled: true, InitialInterval: 100 * time.Millisecond,
				MaxInterval: time.Second, MaxElapsedTime: patience}))
	}
	return otlploghttp.New(ctx, otlploghttp.WithEndpoint(address), otlploghttp.WithInsecure(),
		otlploghttp.WithHeaders(headers), otlploghttp.WithTimeout(patience),
		otlploghttp.WithCompression(otlploghttp.GzipCompression),
		otlploghttp.WithRetry(otlploghttp.RetryConfig{Enabled: true, InitialInterval: 100 * time.Millisecond,
			MaxInterval: time.Second, MaxElapsedTime: patience}))
}

func run(transport, address, token, path string) error {
	ctx := context.Background()
	exporter, err := exporter(ctx, transport, address, token)
	if err != nil {
		return err
	}
	// Batches one after another; a full queue would drop records, so each batch is flushed before the next is made.
	const batch = 200
	processor := sdk.NewBatchProcessor(again{exporter}, sdk.WithMaxQueueSize(2*batch), sdk.WithExportMaxBatchSize(batch),
		sdk.WithExportInterval(50*time.Millisecond), sdk.WithExportTimeout(patience))
	provider := sdk.NewLoggerProvider(sdk.WithProcessor(processor),
		sdk.WithResource(resource.NewSchemaless(attribute.String("service.name", "go-"+transport))))
	logger := provider.Logger("sender")
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		var record api.Record
		record.SetTimestamp(time.Now())
		record.SetSeverity(api.SeverityError)
		record.SetBody(attribute.StringValue(lines.Text()))
		record.AddAttributes(attribute.String("client.ip", "203.0.113.77"))
		logger.Emit(ctx, record)
		if n%batch == 0 {
			if err := provider.ForceFlush(ctx); err != nil {
				return err
			}
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return provider.Shutdown(ctx)
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		log.SetFlags(0)
		log.SetOutput(os.Stdout)
		log.Print(version())
		return
	}
	if len(os.Args) != 5 {
		log.Fatal("usage: sdk http|grpc ADDRESS TOKEN FILE")
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		log.Fatal(err)
	}
}
