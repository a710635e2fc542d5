package cloud

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// s3Parts implements parts as a multipart upload of S3.
type s3Parts struct {
	*s3Service
	name string
	id   *string

	mu   sync.Mutex            // guards sent
	sent []types.CompletedPart // in any order
}

func (s *s3Service) startParts(ctx context.Context, name string) (parts, error) {
	out, err := s.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: &s.bucket, Key: &name, ContentType: aws.String(contentType),
	})
	if err != nil {
		return nil, writeError(err, false)
	}
	return &s3Parts{s3Service: s, name: name, id: out.UploadId}, nil
}

func (p *s3Parts) write(ctx context.Context, number int, body []byte) error {
	n := aws.Int32(int32(number) + 1)
	out, err := p.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &p.bucket, Key: &p.name, UploadId: p.id, PartNumber: n,
		Body: bytes.NewReader(body), ContentLength: aws.Int64(int64(len(body))),
	})
	if err != nil {
		return writeError(err, false)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent = append(p.sent, types.CompletedPart{PartNumber: n, ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32})
	return nil
}

func (p *s3Parts) complete(ctx context.Context) error {
	slices.SortFunc(p.sent, func(a, b types.CompletedPart) int { return cmp.Compare(*a.PartNumber, *b.PartNumber) })
	_, err := p.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &p.bucket, Key: &p.name, UploadId: p.id, MultipartUpload: &types.CompletedMultipartUpload{Parts: p.sent},
	})
	return writeError(err, false)
}

// abort removes the parts. That they are gone already is no error.
func (p *s3Parts) abort(ctx context.Context) error {
	_, err := p.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{
		Bucket: &p.bucket, Key: &p.name, UploadId: p.id,
	})
	if code(err) == "NoSuchUpload" {
		return nil
	}
	return err
}
